// Types of embed-broker.js. They do not import powerbi-client's, so that a page that loads it
// by a script tag needs no package. Where you have the package, name the component's type:
// `embed<Report>(…)`, `embed<Dashboard>(…)`.

/** The part of powerbi-client's service object that is used here. */
export interface PowerBiService {
  accessToken?: string;
  bootstrap(element: HTMLElement, config: any): any;
  embed(element: HTMLElement, config: any): any;
  createReport(element: HTMLElement, config: any): any;
  reset(element: HTMLElement): void;
}

interface AnyConfig {
  embedUrl: string;
  accessToken: string;
  tokenType: 1;
  settings?: Record<string, any>;
  [member: string]: any;
}

/** A configuration for `powerbi.embed` (`powerbi.createReport` for `type: "create"`), as the broker makes it. */
export type EmbedConfig =
  | (AnyConfig & { type: "report"; id: string })
  | (AnyConfig & { type: "visual"; id: string; pageName: string; visualName: string })
  | (AnyConfig & { type: "dashboard"; id: string })
  | (AnyConfig & { type: "tile"; id: string; dashboardId: string })
  | (AnyConfig & { type: "qna"; datasetIds: string[] })
  | (AnyConfig & { type: "create"; datasetId: string });

/** The broker's answer to `POST /embed-token`. */
export interface EmbedAnswer {
  token: string;
  tokenId: string;
  /** RFC 3339, UTC. */
  expiration: string;
  /** RFC 3339, UTC: when a new token should be asked for. */
  refreshAfter: string;
  items: { item: string; renewal: "set_access_token" | "re_embed"; embedConfig: EmbedConfig }[];
}

export interface EmbedError extends Error {
  name: "EmbedError";
  /**
   * The broker's `code` (`not_permitted`, `rate_limited`, …); `network`, `invalid_response`,
   * `user_token_failed`, `swap_failed`, `embed_failed`; or the name that Power BI gives its
   * error in the iframe (`LoadReportFailed`, `PowerBINotAuthorizedException`, …).
   */
  code: string;
  /** HTTP status, 0 where there was none. */
  status: number;
  retryable: boolean;
  /** Seconds until the next try; 0: only the report complained; `Infinity`: nothing more will happen by itself. */
  retryIn: number;
  /** For support: finds the request in the broker's log. */
  requestId?: string | null;
  /** What was thrown, if something was. */
  cause?: unknown;
}

export interface TokenOptions {
  /** Where the broker is, e.g. `https://embed.example.com`. */
  brokerUrl: string;
  /**
   * The user's token from your own sign-in. `forceRefresh` is true after the broker refused the
   * last one: get a new one then. Omit it if the broker reads a cookie or a gateway's header.
   */
  getUserToken?: (request: { forceRefresh: boolean }) => string | Promise<string>;
  /** Never more than the policy grants. */
  access?: "view" | "edit" | "create";
  /** Asks for the right to save copies. */
  saveAs?: boolean;
  /** Every trouble, also what is tried again by itself (`retryIn`). Default: the console. */
  onError?: (error: EmbedError) => void;
}

/**
 * Members that an embed takes from the page; they win over the policy's, `settings` are merged. A
 * function is asked at each embed, also at a re-embed: so it can give the parameters of the moment.
 */
export type PageConfig = Record<string, any> | ((embedConfig: EmbedConfig) => Record<string, any>);

export interface SharedOptions<C = any> extends TokenOptions {
  /** powerbi-client's service; default: the global `powerbi`. */
  powerbi?: PowerBiService;
  /**
   * What to load in the iframe while the token is being minted, default `{ type: "report" }`;
   * `false`: nothing. Give `hostname` in a national cloud, and the `settings` that the policy sets.
   */
  bootstrap?: false | { type?: string; hostname?: string; settings?: Record<string, any> };
  /** After each embed, also after a re-embed: the place for `component.on(…)`. */
  onEmbedded?: (component: C, item: string) => void;
  /** After each token, the first included. */
  onToken?: (answer: EmbedAnswer) => void;
  /** Whether re-embedding would disturb nobody now. Default: tab hidden, or neither pointer nor focus in the element. */
  isQuiet?: (element: HTMLElement) => boolean;
  /** After the user saved. `isNew`: under a new id, which the token at hand does not cover. */
  onSaved?: (saved: { item: string; reportId: string; reportName: string; isNew: boolean }) => void;
}

export interface EmbedOptions<C = any> extends SharedOptions<C> {
  /** The item's name in the broker's catalogue. */
  item: string;
  /** For an item with `report: "*"`: which report, by id or name. */
  target?: string;
  config?: PageConfig;
  /** The item (with `report: "*"`) through which a new report is opened; default: `item`, if there was a `target`. */
  openSaved?: string;
}

export interface Frame {
  element: HTMLElement;
  item: string;
  config?: PageConfig;
}

export interface Handle<C = any> {
  /** Fulfilled after the first embed, rejected with the `EmbedError` when it is refused for good. */
  readonly ready: Promise<Handle<C>>;
  /** powerbi-client's object (`Report`, `Dashboard`, …); null before the first embed. Do not keep it: a re-embed makes a new one. */
  readonly component: C | null;
  /** The same for each frame of `embedMany`. */
  readonly components: (C | null)[];
  /** Asks for a token now, e.g. after the user signed in again. */
  renew(): Promise<void>;
  /** Stops everything and empties the element. */
  dispose(): void;
}

/** Embeds one item into `element` and keeps it alive until `dispose()`. */
export function embed<C = any>(element: HTMLElement, options: EmbedOptions<C>): Handle<C>;

/** Embeds several items under one shared token. */
export function embedMany<C = any>(frames: Frame[], options: SharedOptions<C>): Handle<C>;

/** Mints and renews without embedding, for wrappers that embed by themselves. */
export function watchToken(
  options: TokenOptions & ({ item: string; target?: string; items?: never } | { items: string[]; item?: never; target?: never }),
  onAnswer: (answer: EmbedAnswer) => void,
): { renew(): Promise<void>; dispose(): void };
