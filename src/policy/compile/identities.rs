//! Identities: the limits of Power BI on literals, and where blobs may come from.
//!
//! The limits are those of `EffectiveIdentity` in the Power BI REST description (roles) and of "Embed a report with
//! Azure Analysis Services" (custom data); [`limits`] serves literals here and evaluated values in
//! [`decide`](super::super::decide).

use std::collections::{BTreeMap, BTreeSet};

use super::super::DatasourceIdentity;
use super::super::file::{
    At, BlobFile, DatasourceFile, IdentityFile, NoIdentity, Roles as RolesFile, Scalar, WordOr,
};
use super::super::limits;
use super::super::model::{Identity, Roles, Term};
use super::Compiler;

/// Headers that carry callers' credentials in any configuration.
const CREDENTIAL_HEADERS: [&str; 2] = ["authorization", "cookie"];

impl Compiler<'_> {
    /// An identity; `None`: the word `none`.
    pub(super) fn identity(
        &mut self,
        file: &At<WordOr<NoIdentity, IdentityFile>>,
        path: &str,
    ) -> Option<Identity> {
        let file = match &file.value {
            WordOr::Word(NoIdentity::None) => return None,
            WordOr::Mapping(file) => file,
        };
        Some(Identity {
            username: self.optional_term(file.username.as_ref(), &format!("{path}.username")),
            roles: self.roles(file.roles.as_ref(), &format!("{path}.roles")),
            custom_data: self
                .custom_data(file.custom_data.as_ref(), &format!("{path}.custom_data")),
            auditable_context: self.optional_term(
                file.auditable_context.as_ref(),
                &format!("{path}.auditable_context"),
            ),
            blob: file
                .identity_blob
                .as_ref()
                .map(|blob| self.blob(blob, &format!("{path}.identity_blob"))),
            datasource_identities: self.datasources(&file.datasource_identities, path),
        })
    }

    fn custom_data(&mut self, scalar: Option<&At<Scalar>>, path: &str) -> Option<Term> {
        let scalar = scalar?;
        let term = self.term(scalar, path);
        if let Some(Err(problem)) = term.literal().map(limits::custom_data) {
            self.mistake(scalar.place, path, problem, "shorten it");
            return Some(Term::Broken);
        }
        Some(term)
    }

    fn roles(&mut self, file: Option<&At<RolesFile>>, path: &str) -> Roles {
        let Some(file) = file else {
            return Roles::default();
        };
        let roles = match &file.value {
            RolesFile::Cel(source) => return Roles::Whole(self.expr(source, path)),
            RolesFile::List(roles) => roles,
        };
        let mut terms = Vec::with_capacity(roles.len());
        for (index, role) in roles.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let term = self.term(role, &path);
            if let Some(Err(problem)) = term.literal().map(limits::role) {
                let remedy = "use the name of a role as the model has it";
                self.mistake(role.place, &path, problem, remedy);
            }
            terms.push(term);
        }
        let literals: BTreeSet<&str> = terms.iter().filter_map(Term::literal).collect();
        if literals.len() > limits::MAX_ROLES {
            let problem = format!("lists more than {} roles", limits::MAX_ROLES);
            let remedy = "list fewer, or define a broader role in the model";
            self.mistake(file.place, path, problem, remedy);
        }
        Roles::List(terms)
    }

    fn datasources(&mut self, files: &[DatasourceFile], path: &str) -> Vec<DatasourceIdentity> {
        files
            .iter()
            .enumerate()
            .map(|(index, file)| {
                let path = format!("{path}.datasource_identities[{index}]");
                if file.connection.0.is_empty() {
                    let problem = "names no connection";
                    self.mistake(
                        file.datasource_type.place,
                        &path,
                        problem,
                        "copy `connectionDetails` from Get Datasources",
                    );
                }
                let connection: BTreeMap<String, String> = file
                    .connection
                    .0
                    .iter()
                    .map(|(key, value)| {
                        let path = format!("{path}.connection.{key}");
                        (key.clone(), self.literal(value, &path))
                    })
                    .collect();
                DatasourceIdentity {
                    datasource_type: self
                        .literal(&file.datasource_type, &format!("{path}.datasource_type")),
                    connection,
                    blob_header: self.blob(&file.blob, &format!("{path}.blob")),
                }
            })
            .collect()
    }

    /// The header, in lower case, that an identity blob comes from.
    fn blob(&mut self, file: &BlobFile, path: &str) -> String {
        let path = format!("{path}.header");
        let header = file.header.0.to_ascii_lowercase();
        let credential = CREDENTIAL_HEADERS.contains(&header.as_str())
            || self
                .surroundings
                .credential_headers
                .iter()
                .any(|other| other.eq_ignore_ascii_case(&header));
        if credential {
            self.mistake(
                file.header.place,
                &path,
                format!("`{}` carries the caller's own credentials", file.header.0),
                "send the data source's token in a header of its own, such as `X-Sql-Token`",
            );
        } else if http::HeaderName::from_bytes(header.as_bytes()).is_err() {
            let problem = format!("`{}` is no header name", file.header.0);
            self.mistake(
                file.header.place,
                &path,
                problem,
                "use letters, digits and `-`",
            );
        } else {
            self.blob_headers.insert(header.clone());
        }
        header
    }
}
