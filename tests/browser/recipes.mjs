// The recipes of client/README.md as files, so that a compiler and a browser can say whether they are true.
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/** What the recipes take from the application around them, and frameworks that are not installed here. */
const STUBS = `
declare const userManager: { getUser(): Promise<{ access_token: string }>; signinSilent(): Promise<{ access_token: string }> };
declare class SignInService { accessToken(fresh: boolean): Promise<string> }
declare function defineProps(props: object): { item: string; getUserToken: () => Promise<string> };
declare module "vue" {
  export function ref<T>(value: T): { value: T };
  export function watch(sources: unknown[], run: () => void, options?: { flush: "post" }): void;
  export function onBeforeUnmount(run: () => void): void;
}
declare module "@angular/core" {
  export function Component(meta: object): (it: any) => any;
  export function Input(meta?: object): (it: any, name: string) => any;
  export function ViewChild(name: string, meta?: object): (it: any, name: string) => any;
  export interface ElementRef<T> { nativeElement: T }
  export interface OnChanges { ngOnChanges(): void }
  export interface OnDestroy { ngOnDestroy(): void }
}
`;

/** Writes them into `types/<folder>` and gives their paths by language. */
export async function writeRecipes(folder, { brokerUrl = "https://embed.your.app" } = {}) {
  const target = here(`types/${folder}/`);
  await rm(target, { recursive: true, force: true });
  await mkdir(target, { recursive: true });
  await writeFile(`${target}stubs.d.ts`, STUBS);
  const readme = await readFile(here("../../client/README.md"), "utf8");
  const recipes = {};
  for (const [, language, text] of readme.matchAll(/^```(html|jsx|ts|vue)\n([\s\S]*?)^```$/gm)) {
    const [, script] = /<script (?:type="module"|setup)>\n([\s\S]*?)<\/script>/.exec(text) ?? [null, text];
    const known = (recipes[language] ??= []);
    const path = `${target}${language}-${known.length + 1}.${{ html: "js", vue: "js" }[language] ?? language}`;
    await writeFile(path, `${script
      .replace("\"/vendor/embed-broker.js\"", "\"embed-broker-client\"")
      .replaceAll("https://embed.your.app", brokerUrl)}\nexport {};\n`);
    known.push(path);
  }
  return recipes;
}
