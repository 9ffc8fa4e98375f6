//! Keys of tables: they must tell apart whoever could claim another's row.

use super::super::file::TableFile;
use super::super::model::Term;
use super::Compiler;

/// Variables that the key of a table may name: what the caller brings, and nothing looked up.
const KEY_VARIABLES: [&str; 2] = ["claims", "issuer"];

impl Compiler<'_> {
    /// The key of a table; it must tell issuers apart, and the tenants of an issuer.
    pub(super) fn key(&mut self, table: &TableFile, path: &str) -> Term {
        let path = format!("{path}.key");
        let key = self.expr_over(&KEY_VARIABLES, &table.key, &path);
        if matches!(key, Term::Expr(_)) {
            self.issuers_apart(&key, table, &path);
            self.tenants_apart(&key, table, &path);
        }
        key
    }

    fn issuers_apart(&mut self, key: &Term, table: &TableFile, path: &str) {
        if self.surroundings.issuers.len() < 2 || table.any_issuer || key.uses("issuer") {
            return;
        }
        self.mistake(
            table.key.place,
            path,
            "several issuers are configured and the key does not use `issuer`: one could speak for another's tenants",
            format!(
                "write \"issuer + '/' + {}\" and put the issuer into the rows' keys, or consent with `any_issuer: true`",
                table.key.0
            ),
        );
    }

    /// A tenant of a multi-tenant issuer chooses its users' claims, all but `tid`.
    fn tenants_apart(&mut self, key: &Term, table: &TableFile, path: &str) {
        let Some(issuer) = self.surroundings.multi_tenant_issuers.first() else {
            return;
        };
        if table.any_tenant || key.passes_on("tid") {
            return;
        }
        let problem = format!(
            "issuer `{issuer}` accepts several tenants and the key does not use `claims.tid`: one tenant could speak for another's users"
        );
        self.mistake(
            table.key.place,
            path,
            problem,
            format!(
                "write \"claims.tid + '/' + {}\" and put the tenant's id into the rows' keys, or consent with `any_tenant: true`",
                table.key.0
            ),
        );
    }
}
