// Never run: `tsc` checks that embed-broker.d.ts says what applications need it to say, and that what it
// gives fits powerbi-client's own types.
import {
  embed, embedMany, watchToken,
  type EmbedAnswer, type EmbedConfig, type EmbedError, type EmbedOptions, type Handle, type PowerBiService,
} from "embed-broker-client";
import { factories, models, Report, service, type Embed, type Page } from "powerbi-client";

const powerbi = new service.Service(factories.hpmFactory, factories.wpmpFactory, factories.routerFactory);
const element = document.createElement("div");

// The real service is what embed-broker.js needs, and the answer is what the real service needs.
const asNeeded: PowerBiService = powerbi;
export function byHand({ items, token, tokenId, expiration, refreshAfter }: EmbedAnswer): Embed {
  const [{ embedConfig, renewal }] = items;
  const how: "set_access_token" | "re_embed" = renewal;
  console.log(how, token, tokenId, Date.parse(expiration), Date.parse(refreshAfter));
  if (embedConfig.type === "create") return powerbi.createReport(element, embedConfig);
  return powerbi.embed(element, embedConfig);
}

/** Each kind fits powerbi-client's own type of it. */
export function ofKind(config: EmbedConfig) {
  switch (config.type) {
    case "report": return config satisfies models.IReportEmbedConfiguration;
    case "visual": return config satisfies models.IVisualEmbedConfiguration;
    case "dashboard": return config satisfies models.IDashboardEmbedConfiguration;
    case "tile": return config satisfies models.ITileEmbedConfiguration;
    case "qna": return config satisfies models.IQnaEmbedConfiguration;
    case "create": return config satisfies models.IReportCreateConfiguration;
  }
}

const options: EmbedOptions<Report> = {
  item: "sales",
  brokerUrl: "https://embed.example.com",
  powerbi,
  getUserToken: async ({ forceRefresh }) => (forceRefresh ? "fresh" : "jwt"),
  access: "edit",
  saveAs: true,
  target: "Sales",
  openSaved: "any-report",
  bootstrap: { type: "report", hostname: "https://app.powerbigov.us", settings: { localeSettings: { language: "de" } } },
  config: (given) => ({ pageName: given.pageName, filters: [], viewMode: models.ViewMode.Edit }),
  onEmbedded: (report, item) => {
    report.on<{ newPage: Page }>("pageChanged", ({ detail }) => console.log(item, detail.newPage.name));
  },
  onToken: ({ tokenId }) => console.log(tokenId),
  onSaved: ({ item, reportId, reportName, isNew }) => console.log(item, reportId, reportName, isNew),
  onError: (error: EmbedError) => console.log(error.code, error.status, error.retryable, error.retryIn, error.requestId, error.cause),
  isQuiet: (it) => !it.matches(":hover"),
};

export async function whole() {
  const handle: Handle<Report> = embed(element, options);
  const { component } = await handle.ready;
  const pages: Page[] | undefined = await component?.getPages();
  await handle.renew();
  handle.dispose();
  return pages;
}

export function several(): Handle {
  const handle = embedMany([{ element, item: "sales" }, { element, item: "stock", config: { pageName: "p" } }], {
    brokerUrl: "/embed", isQuiet: () => true,
  });
  handle.components.forEach((component) => component?.reload());
  return handle;
}

export const watchers = [
  watchToken({ item: "sales", target: "Sales", brokerUrl: "/embed" }, (answer) => byHand(answer)),
  watchToken({ items: ["sales", "stock"], brokerUrl: "/embed" }, ({ items }) => items.length),
];

// What must not compile.
export function refused() {
  // @ts-expect-error an item is needed
  embed(element, { brokerUrl: "/embed" });
  // @ts-expect-error a broker is needed
  embed(element, { item: "sales" });
  // @ts-expect-error no such right
  embed(element, { item: "sales", brokerUrl: "/embed", access: "admin" });
  // @ts-expect-error the browser never chooses an identity
  embed(element, { item: "sales", brokerUrl: "/embed", username: "ana" });
  // @ts-expect-error one target is for one item
  embedMany([{ element, item: "sales" }], { brokerUrl: "/embed", target: "Sales" });
  // @ts-expect-error one or several items, not both
  watchToken({ item: "sales", items: ["stock"], brokerUrl: "/embed" }, () => {});
  // @ts-expect-error there may be no component yet
  embed(element, options).component.getPages();
  return asNeeded;
}
