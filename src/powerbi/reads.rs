//! GETs: one thing by id, or a whole collection with all its pages.

use serde::de::DeserializeOwned;
use url::Url;

use super::Error;
use super::client::{CallKind, Request};
use super::fact_cache::Reader;
use super::wire::Page;

/// `$top` of collections that know it.
const PAGE: usize = 100;

/// Bounds of one collection; beyond them it is not believed.
const MAX_PAGES: usize = 200;
const MAX_ITEMS: usize = 50_000;

/// Which part of a collection is read, and how.
pub(super) enum Collection<'a> {
    /// All of it; the service pages it by links, if at all.
    Whole,
    /// All of it by `$top` and `$skip`.
    Paged,
    /// What bears this value in this member, by `$filter`, `$top` and `$skip`.
    Named { member: &'a str, name: &'a str },
}

impl Reader {
    /// The thing at `path`.
    pub(super) async fn one<T: DeserializeOwned + Send>(
        &self,
        kind: CallKind,
        path: &[&str],
    ) -> Result<(T, usize), Error> {
        let url = self.url(path)?;
        self.get(kind, url)
            .await
            .map_err(|error| not_found(error, path))
    }

    /// Every member of the collection at `path`, once each.
    pub(super) async fn all<T: DeserializeOwned + Send>(
        &self,
        kind: CallKind,
        path: &[&str],
        collection: Collection<'_>,
        id: fn(&T) -> &str,
    ) -> Result<(Vec<T>, usize), Error> {
        let base = self.url(path)?;
        let (mut items, mut weight) = (Vec::<T>::new(), 0);
        let mut seen = std::collections::HashSet::new();
        let mut url = Some(page_url(&base, &collection, 0));
        for _ in 0..MAX_PAGES {
            let Some(next) = url.take() else {
                return Ok((items, weight));
            };
            let (page, bytes) = self
                .get::<Page<T>>(kind, next)
                .await
                .map_err(|error| not_found(error, path))?;
            weight += bytes;
            let received = page.value.len();
            let before = items.len();
            // A member that moves to another page between two reads comes twice.
            items.extend(
                page.value
                    .into_iter()
                    .filter(|item| seen.insert(id(item).to_owned())),
            );
            if items.len() > MAX_ITEMS {
                break;
            }
            let fresh = items.len() > before;
            url = match (page.next_link, &collection) {
                (Some(link), _) => Some(followed(&base, &link)?),
                // The service may give shorter pages than asked for: only one without anything new is the last.
                (None, Collection::Paged | Collection::Named { .. }) if fresh && received > 0 => {
                    Some(page_url(&base, &collection, items.len()))
                }
                (None, Collection::Whole | Collection::Paged | Collection::Named { .. }) => None,
            };
        }
        let endless = format!("the collection {} does not end", kind.as_str());
        Err(Error::InvalidResponse(endless.into()))
    }

    async fn get<T: DeserializeOwned + Send>(
        &self,
        kind: CallKind,
        url: Url,
    ) -> Result<(T, usize), Error> {
        let request = Request {
            kind,
            url,
            profile: self.profile.clone(),
            body: None,
        };
        let answer = self
            .client
            .call(&request, self.deadline, |body| parse(kind, body))
            .await?;
        Ok((answer.value, answer.bytes))
    }

    fn url(&self, path: &[&str]) -> Result<Url, Error> {
        self.client.url(path).ok_or_else(|| Error::ItemUnavailable {
            what: path.first().copied().unwrap_or_default().to_owned(),
            cause: "an id holds characters that no id has".into(),
        })
    }
}

/// Reads JSON; what is wrong with it is told without any of it.
pub(super) fn parse<T: DeserializeOwned>(kind: CallKind, body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| {
        format!(
            "the reply about {} is not as documented ({:?} error in line {}, column {})",
            kind.as_str(),
            error.classify(),
            error.line(),
            error.column()
        )
    })
}

/// "Not found" of a look-up is about the item, not about the call.
fn not_found(error: Error, path: &[&str]) -> Error {
    match error {
        Error::Rejected {
            status: 404,
            code,
            remedy,
            ..
        } if code != "CapacityNotActive" => Error::ItemUnavailable {
            what: path.join("/"),
            cause: format!("Power BI answers 404 ({code}): {remedy}"),
        },
        other => other,
    }
}

fn page_url(base: &Url, collection: &Collection<'_>, skip: usize) -> Url {
    let query = match collection {
        Collection::Whole => return base.clone(),
        Collection::Paged => format!("$top={PAGE}&$skip={skip}"),
        Collection::Named { member, name } => {
            let filter = encoded(&format!("{member} eq '{}'", name.replace('\'', "''")));
            format!("$filter={filter}&$top={PAGE}&$skip={skip}")
        }
    };
    let mut url = base.clone();
    url.set_query(Some(&query));
    url
}

/// Spaces as `%20`: not every `OData` reader takes `+` for one.
fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

/// The next page, when it is one of the same collection: the bearer goes nowhere else.
fn followed(base: &Url, link: &str) -> Result<Url, Error> {
    let next = Url::parse(link)
        .ok()
        .filter(|next| next.origin() == base.origin() && next.path() == base.path())
        .ok_or_else(|| {
            Error::InvalidResponse("a collection's next page lies outside the collection".into())
        })?;
    let mut url = base.clone();
    url.set_query(next.query());
    Ok(url)
}
