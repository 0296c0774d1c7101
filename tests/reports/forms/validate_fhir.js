// Prints {"name": [errors]} for the FHIR R4 resources in the files named; the npm package `fhir` judges.
const { readFileSync } = require("fs");
const { createRequire } = require("module");
const [folder, ...files] = process.argv.slice(2);
const { Fhir } = createRequire(folder + "/")("fhir");
const fhir = new Fhir();
const found = {};
for (const file of files) {
  const { valid, messages } = fhir.validate(JSON.parse(readFileSync(file, "utf8")), { errorOnUnexpected: true });
  const errors = messages.filter((m) => m.severity === "error" || m.severity === "fatal");
  found[file] = valid && !errors.length ? [] : errors.map((m) => `${m.location}: ${m.message}`);
}
console.log(JSON.stringify(found));
