/** 64 adjectives and 64 nouns, six bits each: short, kind, and without a second meaning that hurts in any pairing. */
export const adjectives = (
  "amber ample apt azure bold brave breezy bright brisk calm candid cheery civil clear clever cosy crisp deft eager " +
  "early easy fair fleet fond frank fresh gentle glad golden grand happy hardy honest jolly keen kind lively lucid " +
  "lucky lunar mellow merry mild neat nimble noble patient polite proud quick quiet rapid ready serene sleek snug " +
  "solar steady sunny swift tidy vivid warm witty"
).split(" ")

export const nouns = (
  "acorn anchor apple aspen badger basil beacon birch brook canyon cedar clover comet coral cove crane dune ember " +
  "falcon fern finch fjord forest garden glade grove harbor hazel heron hill iris island ivy juniper lagoon lake " +
  "lark laurel lily lotus maple marsh meadow moss oak olive orchid otter pebble pine plum pond quartz reef ridge " +
  "river robin sparrow spruce stone summit thyme tulip willow"
).split(" ")
