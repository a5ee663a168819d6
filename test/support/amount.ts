/** How much of what can be done without end: the first number in a usual run, the second in `npm run test:full`. */
export const amount = (usual: number, full: number): number => (process.env["VALET_TEST_FULL"] === "1" ? full : usual)
