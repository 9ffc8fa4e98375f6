//! Which keys an item of which kind has and needs, as a table.

use super::super::file::{At, ItemFile, Place};
use super::super::{Kind, Xmla};
use super::Compiler;

/// A key that only some kinds have.
struct Particular {
    key: &'static str,
    place: Option<Place>,
    kinds: &'static [Kind],
    /// Whether those kinds need it.
    needed: bool,
}

impl Compiler<'_> {
    /// Keys that do not fit the kind, or that the kind needs.
    pub(super) fn particulars(&mut self, file: &ItemFile, place: Place, path: &str) {
        let kind = kind_name(file.kind);
        for Particular {
            key,
            place: given,
            kinds,
            needed,
        } in particulars(file)
        {
            let fits = kinds.contains(&file.kind);
            if let (Some(given), false) = (given, fits) {
                let others: Vec<&str> = kinds.iter().map(|kind| kind_name(*kind)).collect();
                self.mistake(
                    given,
                    &format!("{path}.{key}"),
                    format!("an item of kind `{kind}` has no `{key}`"),
                    format!("leave it out; it is for: {}", others.join(", ")),
                );
            }
            if needed && fits && given.is_none() {
                self.mistake(
                    place,
                    path,
                    format!("an item of kind `{kind}` needs `{key}`"),
                    format!("add `{key}`"),
                );
            }
        }
    }
}

/// The name of a kind as the file writes it.
fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Report => "report",
        Kind::PaginatedReport => "paginated_report",
        Kind::Dashboard => "dashboard",
        Kind::Tile => "tile",
        Kind::Qna => "qna",
        Kind::CreateReport => "create_report",
        Kind::Visual => "visual",
    }
}

/// Which kinds have which keys; those that every kind has are left out. The V1 calls that mint for dashboards and tiles
/// know no XMLA right (Power BI REST, "Generate Token" for dashboards and tiles).
fn particulars(file: &ItemFile) -> [Particular; 11] {
    use Kind::{CreateReport, Dashboard, PaginatedReport, Qna, Report, Tile, Visual};
    fn of<T>(key: &'static str, value: Option<&At<T>>, kinds: &'static [Kind]) -> Particular {
        let place = value.map(|value| value.place);
        Particular {
            key,
            place,
            kinds,
            needed: false,
        }
    }
    fn needs<T>(key: &'static str, value: Option<&At<T>>, kinds: &'static [Kind]) -> Particular {
        Particular {
            needed: true,
            ..of(key, value, kinds)
        }
    }
    // `off` says no more than leaving the key out.
    let xmla = file.xmla.as_ref().filter(|it| it.value != Xmla::Off);
    [
        needs(
            "report",
            file.report.as_ref(),
            &[Report, PaginatedReport, Visual],
        ),
        needs("dashboard", file.dashboard.as_ref(), &[Dashboard, Tile]),
        needs("tile", file.tile.as_ref(), &[Tile]),
        needs("dataset", file.dataset.as_ref(), &[Qna, CreateReport]),
        needs(
            "target_workspace",
            file.target_workspace.as_ref(),
            &[CreateReport],
        ),
        needs("page", file.page.as_ref(), &[Visual]),
        needs("visual", file.visual.as_ref(), &[Visual]),
        of(
            "xmla",
            xmla,
            &[Report, PaginatedReport, Qna, CreateReport, Visual],
        ),
        of(
            "dataset_binding",
            file.dataset_binding.as_ref(),
            &[Report, PaginatedReport, Visual],
        ),
        of(
            "paginated_visuals",
            file.paginated_visuals.first(),
            &[Report, Visual],
        ),
        of(
            "save_as_workspace",
            file.save_as_workspace.as_ref(),
            &[Report],
        ),
    ]
}
