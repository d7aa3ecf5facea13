// generated/openapi.json -> generated/cronsched.postman_collection.json, with what a person needs to
// begin: `baseUrl`, and a sign-in that keeps its token for every other request.
import { readFileSync, writeFileSync } from "node:fs";
import converter from "openapi-to-postmanv2";

const OPTIONS = {
  folderStrategy: "Tags",
  requestNameSource: "Fallback",
  parametersResolution: "Example",
  requestParametersResolution: "Example",
  exampleParametersResolution: "Example",
  enableOptionalParameters: false,
  keepImplicitHeaders: false,
};
const KEEP_TOKENS = [
  "const answer = pm.response.json();",
  'if (answer.access_token) pm.collectionVariables.set("access_token", answer.access_token);',
  'if (answer.refresh_token) pm.collectionVariables.set("refresh_token", answer.refresh_token);',
];
const SIGN_INS = ["/api/v2/auth/login", "/api/v2/auth/refresh"];

function convert(document) {
  return new Promise((resolve, reject) => {
    converter.convert({ type: "string", data: document }, OPTIONS, (error, result) => {
      if (error || !result.result) reject(error ?? new Error(result.reason));
      else resolve(result.output[0].data);
    });
  });
}

function* requestsOf(items) {
  for (const item of items) {
    if (item.item) yield* requestsOf(item.item);
    else yield item;
  }
}

const collection = await convert(readFileSync("generated/openapi.json", "utf8"));
collection.auth = { type: "bearer", bearer: [{ key: "token", value: "{{access_token}}", type: "string" }] };
collection.variable = [
  { key: "baseUrl", value: process.env.BASE_URL ?? "http://127.0.0.1:5001" },
  { key: "access_token", value: "" },
  { key: "refresh_token", value: "" },
];
let count = 0;
for (const item of requestsOf(collection.item)) {
  count += 1;
  // The collection's own, but for what anyone may ask.
  if (item.request.auth?.type !== "noauth") delete item.request.auth;
  if (SIGN_INS.includes(`/${item.request.url.path.join("/")}`)) {
    item.event = [{ listen: "test", script: { type: "text/javascript", exec: KEEP_TOKENS } }];
  }
}
const target = "generated/cronsched.postman_collection.json";
writeFileSync(target, `${JSON.stringify(collection, null, 2)}\n`);
console.log(`clients/${target}: ${count} requests`);
