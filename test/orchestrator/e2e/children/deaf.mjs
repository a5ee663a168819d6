// Never listens.
console.log("I will not listen")
setInterval(() => {}, 1000)
