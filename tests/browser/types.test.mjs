// embed-broker.d.ts and the recipes of the README against TypeScript and powerbi-client's own types.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { writeRecipes } from "./recipes.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/** What the compiler has to say. */
function tsc(project) {
  return new Promise((resolve) => {
    const command = [here("node_modules/typescript/bin/tsc"), "--noEmit", "--pretty", "false", "-p", here(project)];
    execFile(process.execPath, command, (_, out, err) => resolve(`${out}${err}`));
  });
}

test("the declarations fit what applications write and powerbi-client's own types", async () => {
  assert.equal(await tsc("types/tsconfig.json"), "");
});

test("the recipes of the README compile", async () => {
  const recipes = await writeRecipes("recipes");
  assert.deepEqual(Object.entries(recipes).map(([language, files]) => [language, files.length]), [["html", 1], ["jsx", 2], ["ts", 1], ["vue", 1]]);
  assert.equal(await tsc("types/tsconfig.recipes.json"), "");
});
