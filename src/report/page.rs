//! The page: one HTML file that needs nothing else. Without its script it holds every number; the script turns the dial.

use super::data::{data, embedded};
use super::dial::{Dial, Status, status};
use super::flow::{Layer, largest};
use super::measure::Point;
use super::number::{at_least, at_most, nearest};
use super::pair::{Pair, name};
use super::panel;
use super::picture;
use crate::coarsen::work;
use crate::graph::float;
use anyhow::Result;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use scalecheck::number::Rational;
use scalecheck::verify::{RowVerdict, SettingReport, Verdict};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Nothing is loaded from anywhere, whatever a file name says.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/// A pair with what was found about it.
pub struct Section {
    pub pair: Pair,
    pub points: Vec<Point>,
    pub dial: Option<Dial>,
    pub layers: Vec<Layer>,
}

/// The whole page.
pub fn page(sections: &[Section]) -> Result<String> {
    let parts = sections.iter().enumerate().map(|(i, s)| section(i, s)).collect::<Result<Vec<_>>>()?;
    let title = match sections {
        [only] => format!("{}: what was proven", only.pair.name()),
        _ => "What was proven".to_owned(),
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    p.kicker { "scalecert report" }
                    h1 { "What was proven" }
                    p.legend {
                        span { i.key.proven {} "proven: no perturbation does more, as the exact checker confirmed (≤)" }
                        span { i.key.attacked {} "attacked: a perturbation that does this was evaluated exactly (≥)" }
                        span { "Nothing here is estimated; six digits are shown, rounded to the safe side." }
                    }
                }
                main {
                    @if sections.len() > 1 { (overview(sections)) }
                    @for part in parts { (part) }
                }
                footer {
                    p { "Made by scalecert " (env!("CARGO_PKG_VERSION")) ", checked by scalecheck " (scalecheck::VERSION)
                        ". Do not take this page’s word for it: re-check the certificate." }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    Ok(page.into_string())
}

/// A number that is shown rounded, with its exact value as data.
fn number(x: &Rational, shown: &str) -> Markup {
    html! { data value=(x) { (shown) } }
}

fn upper(x: Option<&Rational>) -> Markup {
    x.map_or_else(|| html! { span.none { "no bound" } }, |x| html! { "≤ " (number(x, &at_most(x))) })
}

fn lower(x: Option<&Rational>) -> Markup {
    x.map_or_else(|| html! { span.none { "nothing found" } }, |x| html! { "≥ " (number(x, &at_least(x))) })
}

/// What is attacked: a change of at least this, or a margin that is brought down to this.
fn attacked(x: Option<&Rational>, winner: bool) -> Markup {
    if winner { x.map_or_else(|| lower(None), |x| html! { "≤ " (number(x, &at_most(x))) }) } else { lower(x) }
}

fn badge(verdict: Verdict) -> Markup {
    let (class, mark) = match verdict {
        Verdict::Verified => ("good", "✓"),
        Verdict::Refuted => ("bad", "✗"),
        Verdict::Rejected => ("bad", "⊘"),
    };
    html! { strong.badge.(class) { (mark) " " (verdict.word()) } }
}

fn pill(status: Status) -> Markup {
    let class = match status {
        Status::Safe => "good",
        Status::Relevant => "bad",
        Status::Unknown => "open",
    };
    html! { span.pill.(class) { (status.mark()) " " (status.word()) } }
}

fn share(x: &Rational, of: &Rational) -> String {
    let (x, of) = (float(x), float(of));
    if of > 0.0 { format!("{:.3}%", (100.0 * x / of).clamp(0.0, 100.0)) } else { "0%".into() }
}

/// Where the axis of the brackets ends.
fn axis(dial: &Dial) -> Rational {
    let largest = dial.largest().max(dial.tolerance.clone().unwrap_or_default());
    largest * Rational::new(21.into(), 20.into())
}

/// All claims in one table.
fn overview(sections: &[Section]) -> Markup {
    html! {
        section.overview {
            h2 { "All claims" }
            div.scroll { table.sortable {
                thead { tr {
                    th { "claim" } th { "verdict" } th.n { "rows proven" } th.n { "attacked" } th.n { "proven" }
                    th.n { "multiply–accumulates" }
                } }
                tbody { @for (i, Section { pair, points, .. }) in sections.iter().enumerate() { tr {
                    th scope="row" { a href={ "#c" (i) } { (pair.name()) } }
                    td { (badge(pair.report.verdict())) }
                    td.n { (fraction(&pair.report.settings)) }
                    // Both numbers are about one setting, that with the largest bound.
                    @let measured = points.iter().filter(|p| !p.stated.is_empty() && !p.is_about_winner());
                    @match measured.max_by_key(|p| (p.certified(), p.attacked())) {
                        Some(point) => { td.n { (lower(point.attacked())) } td.n { (upper(point.certified())) } }
                        None => { td.n { "–" } td.n { "–" } }
                    }
                    td.n { (cost(pair)) }
                } } }
            } }
            p.note { "attacked ≤ truth ≤ proven: the largest change of a coarse output over all rows, at the setting with the "
                "largest bound. Claims about winners and properties have no such number." }
        }
    }
}

/// How many of the rows that are to hold are proven.
fn fraction(settings: &[SettingReport]) -> Markup {
    let holds = |v: &RowVerdict| matches!(v, RowVerdict::Verified { .. } | RowVerdict::Served { .. });
    let (mut proven, mut all) = (0, 0);
    for setting in settings {
        // One row that reaches something is all that such a setting claims.
        if setting.rows.iter().any(|(_, v)| matches!(v, RowVerdict::Reached { .. })) {
            continue;
        }
        proven += setting.rows.iter().filter(|(_, v)| holds(v)).count();
        all += setting.rows.len();
    }
    html! { (proven) " of " (all) }
}

fn cost(pair: &Pair) -> Markup {
    let own = work(pair.statement.network());
    match &pair.claim().replace {
        Some(other) => html! { (work(&other.network)) " instead of " (own) },
        None => html! { (own) },
    }
}

fn section(index: usize, section: &Section) -> Result<Markup> {
    let Section { pair, dial, layers, .. } = section;
    let (summary, statements) = words(pair);
    let curves = match dial {
        Some(dial) if dial.levels.len() > 1 && !dial.winner => {
            let labels: Vec<String> = dial.levels.iter().map(|level| level.label.clone()).collect();
            Some(picture::inline(&picture::curves(&labels, &picture::of_dial(dial))?))
        }
        _ => None,
    };
    let coarse = pair.claim().replace.is_some() || !pair.claim().truncate.is_empty();
    Ok(html! {
        section.pair id={ "c" (index) } aria-labelledby={ "h" (index) } {
            h2 id={ "h" (index) } { (pair.name()) " " (badge(pair.report.verdict())) }
            p.words { (summary) }
            @if !statements.is_empty() {
                details { summary { (statements.len()) " statements in plain words" }
                    ol.statements start="0" { @for statement in &statements { li { (statement) } } }
                }
            }
            @if coarse { (coarse_model(pair)) }
            @if let Some(dial) = dial.as_ref().filter(|_| layers.is_empty()) {
                (brackets(dial))
                (turn(index, dial))
                @if let Some(curves) = &curves {
                    figure.curves {
                        figcaption { h3 { "How tolerance depends on scale" }
                            p { "The worst of all rows; one pair of curves for each amplitude. The truth lies between the two." } }
                        div.scroll { (PreEscaped(curves)) }
                    }
                }
                (rows(dial))
            }
            @if !layers.is_empty() { (heat_map(layers)) }
            (settings(pair))
            (provenance(pair))
            @let all = data(pair, dial.as_ref().filter(|_| layers.is_empty()));
            script.data type="application/json" { (PreEscaped(embedded(&all))) }
        }
    })
}

/// The claim in plain words: a paragraph, and its statements if there are several.
fn words(pair: &Pair) -> (String, Vec<String>) {
    let all = &pair.report.claim;
    if pair.report.settings.len() < 2 {
        return (all.clone(), vec![]);
    }
    let first = all.split_once("\nsetting 0: ").map_or(&all[..], |(first, _)| first);
    (first.to_owned(), pair.report.settings.iter().map(|setting| setting.claim.clone()).collect())
}

/// What takes the model's place, and what that saves.
fn coarse_model(pair: &Pair) -> Markup {
    let claim = pair.claim();
    html! {
        dl.facts {
            @if let Some(other) = &claim.replace {
                dt { "replaced by" } dd { (other.name) }
            }
            @for truncate in &claim.truncate {
                dt { "kept of " (truncate.site) } dd { "what rung " (truncate.cutoff) " of its ladder sees" }
            }
            dt { "multiply–accumulates" } dd { (cost(pair)) }
        }
    }
}

/// The picture at the top: what happens, where the truth is, and what never happens, level by level.
fn brackets(dial: &Dial) -> Markup {
    let [start, amplitude, _] = dial.start;
    let axis = axis(dial);
    html! {
        figure.brackets {
            figcaption {
                h3 { @if dial.winner { "Decisions that hold" } @else { "Attacked ≤ truth ≤ certified" } }
                p {
                    @if dial.winner { "How many rows keep their winner, by proof (hatched), and how many an attack breaks (solid)" }
                    @else { "The largest change of a coarse output" @if dial.rows.len() > 1 { ", the worst of " (dial.rows.len()) " rows" } }
                    @if !dial.amplitudes[amplitude].is_empty() {
                        ", at amplitude " span.amplitude-now { (dial.amplitudes[amplitude]) }
                    }
                    "."
                    @if let Some(tolerance) = &dial.tolerance {
                        " A change matters if it is above " span.tolerance-now { (nearest(tolerance)) }
                        span.tolerance-from { " (" (dial.tolerance_from) ")" } "."
                    }
                }
            }
            table.tracks {
                thead.hidden { tr { th { "scale" } th { "bracket" } th { "numbers" } th { "status" } } }
                tbody { @for (l, level) in dial.levels.iter().enumerate() {
                    @let worst = dial.worst(l, amplitude);
                    tr.track-row.current[l == start] {
                        th scope="row" { (level.label) }
                        td.bar { div.track aria-hidden="true" {
                            @if let Some(worst) = &worst {
                                @if dial.winner {
                                    @let rows = Rational::from_integer(dial.rows.len().into());
                                    @let safe = Rational::from_integer(worst.counts[0].into());
                                    @let bad = Rational::from_integer(worst.counts[1].into());
                                    i.open style={ "left:0;width:" (share(&safe, &rows)) } {}
                                    i.happens.full style={ "left:" (share(&safe, &rows)) ";width:" (share(&bad, &rows)) } {}
                                } @else {
                                    i.open.endless[worst.certified.is_none()] style={ "left:0;width:" (worst.certified.as_ref().map_or("100%".into(), |c| share(c, &axis))) } {}
                                    i.happens style={ "left:0;width:" (worst.attacked.as_ref().map_or("0%".into(), |a| share(a, &axis))) } {}
                                }
                            }
                            @if let Some(tolerance) = &dial.tolerance { b.limit style={ "left:" (share(tolerance, &axis)) } {} }
                        } }
                        td.n {
                            @if let Some(worst) = &worst {
                                @if dial.winner { (worst.counts[0]) " of " (dial.rows.len()) }
                                @else if let (Some(a), Some(c)) = (&worst.attacked, &worst.certified) {
                                    (number(a, &at_least(a))) " … " (number(c, &at_most(c)))
                                } @else { (lower(worst.attacked.as_ref())) }
                            }
                        }
                        td.s { @if let Some(worst) = &worst { (pill(worst.status())) } }
                    }
                } }
            }
        }
    }
}

/// The dial: controls that the script brings to life, pictures and outputs as it stands at first.
fn turn(index: usize, dial: &Dial) -> Markup {
    let [level, amplitude, row] = dial.start;
    let id = |what: &str| format!("{what}{index}");
    html! {
        div.dial {
            h3 { "The dial" }
            div.controls hidden {
                div hidden[dial.levels.len() < 2] {
                    label for=(id("level")) { "Scale: " output.level-now { (dial.levels[level].label) } }
                    input.level type="range" id=(id("level")) min="0" max=(dial.levels.len() - 1) step="1" value=(level)
                        aria-valuetext=(dial.levels[level].label) autocomplete="off";
                    span.ends { span { "fine" } span { "coarse" } }
                }
                div hidden[dial.amplitudes.len() < 2] {
                    label for=(id("amplitude")) { "Amplitude: " output.size-now { (dial.amplitudes[amplitude]) } }
                    input.amplitude type="range" id=(id("amplitude")) min="0" max=(dial.amplitudes.len() - 1) step="1"
                        value=(amplitude) aria-valuetext=(dial.amplitudes[amplitude]) autocomplete="off";
                    span.ends { span { "small" } span { "large" } }
                }
                div hidden[dial.rows.len() < 2] {
                    label for=(id("row")) { "Row" }
                    select.row id=(id("row")) autocomplete="off" { @for (r, one) in dial.rows.iter().enumerate() {
                        option value=(r) selected[r == row] { (one.row) }
                    } }
                }
                @if let Some(tolerance) = &dial.tolerance {
                    div {
                        label for=(id("tolerance")) { "A change matters above" }
                        input.tolerance type="text" id=(id("tolerance")) inputmode="decimal" size="8"
                            value=(tolerance) pattern=r"[0-9]+(\.[0-9]+)?|[0-9]+/[1-9][0-9]*" autocomplete="off";
                    }
                }
            }
            p.sentence aria-live="polite" { (sentence(dial)) }
            (panel::panels(dial))
            (panel::outputs(dial))
        }
    }
}

/// What the dial says where it stands.
fn sentence(dial: &Dial) -> Markup {
    let [level, amplitude, row] = dial.start;
    let Some(cell) = dial.first() else { return html! { "Nothing is known here." } };
    let reach = cell.found.witness.as_ref().map(|witness| &witness.reach);
    html! {
        "Row " (dial.rows[row].row)
        @if !dial.amplitudes[amplitude].is_empty() { ", amplitude " (dial.amplitudes[amplitude]) }
        ": " (dial.levels[level].hidden) " – " (pill(status(&cell.found, dial.tolerance.as_ref()))) ". "
        @if dial.winner {
            "Margin of the winner under attack " (attacked(reach, true)) "."
        } @else {
            "Change of an output: attacked " (lower(reach)) ", certified " (upper(cell.found.certified.as_ref())) "."
        }
    }
}

/// Every row of every level and amplitude.
fn rows(dial: &Dial) -> Markup {
    let [level, amplitude, _] = dial.start;
    html! {
        div.rows {
            h3 { "Every row" }
            @for (l, of_level) in dial.cells.iter().enumerate() { @for (a, cells) in of_level.iter().enumerate() {
                @if let (Some(cells), Some(worst)) = (cells, dial.worst(l, a)) {
                    details.cell data-level=(l) data-amplitude=(a) open[(l, a) == (level, amplitude)] {
                        summary {
                            (dial.levels[l].label)
                            @if !dial.amplitudes[a].is_empty() { ", amplitude " (dial.amplitudes[a]) }
                            ": certified safe to ignore at " span.fraction { (worst.counts[0]) } " of " (cells.len())
                            @if cells.len() == 1 { " row" } @else { " rows" }
                        }
                        div.scroll { table.sortable {
                            thead { tr {
                                th.n { "row" } th { "status" }
                                th.n { @if dial.winner { "margin under attack" } @else { "attacked" } }
                                @if !dial.winner { th.n { "proven" } }
                                th { "attack from" } th { "outputs there" }
                            } }
                            tbody { @for (row, cell) in dial.rows.iter().zip(cells) { tr {
                                th.n scope="row" { (row.row) }
                                td.status { (pill(status(&cell.found, dial.tolerance.as_ref()))) }
                                @let witness = cell.found.witness.as_ref();
                                td.n { (attacked(witness.map(|w| &w.reach), dial.winner)) }
                                @if !dial.winner { td.n { (upper(cell.found.certified.as_ref())) } }
                                td { @if let Some(witness) = witness {
                                    @if witness.certificate { "certificate" } @else { "new attack" }
                                } }
                                td.outputs { @if let Some(witness) = witness {
                                    (witness.perturbed.iter().map(nearest).collect::<Vec<_>>().join(", "))
                                } }
                            } } }
                        } }
                    }
                }
            } }
        }
    }
}

/// Layers from left to right, bands downwards.
fn heat_map(layers: &[Layer]) -> Markup {
    let top = largest(layers);
    html! {
        figure.heat {
            figcaption { h3 { "The flow through the layers" }
                p { "How much of the perturbation each band of a tensor sees: the largest change of any of its coordinates, "
                    "over all rows. The coarse part stands above, finer bands below; the darker, the more may arrive." } }
            div.scroll { div.layers { @for layer in layers {
                table {
                    caption { (layer.tensor) }
                    thead.hidden { tr { th { "band" } th { "attacked" } th { "proven" } } }
                    tbody { @for band in &layer.bands {
                        @let part = band.certified.as_ref().map_or("0%".into(), |c| share(c, &top));
                        tr style={ "--part:" (part) } {
                            th scope="row" { (band.name) }
                            td.n { (lower(band.attacked.as_ref())) }
                            td.n { (upper(band.certified.as_ref())) }
                        }
                    } }
                }
            } } }
        }
    }
}

/// What the checker says of every setting.
fn settings(pair: &Pair) -> Markup {
    let report = &pair.report;
    let counts = |setting: &SettingReport| {
        let count = |wanted: fn(&RowVerdict) -> bool| setting.rows.iter().filter(|(_, v)| wanted(v)).count();
        let all = [
            (count(|v| matches!(v, RowVerdict::Verified { .. } | RowVerdict::Served { .. })), "proven"),
            (count(|v| matches!(v, RowVerdict::Reached { .. })), "reached"),
            (count(|v| matches!(v, RowVerdict::Refuted { .. })), "refuted"),
            (count(|v| matches!(v, RowVerdict::Rejected(_))), "rejected"),
            (count(|v| matches!(v, RowVerdict::Unanswered)), "not answered"),
        ];
        let shown = all.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}"));
        shown.collect::<Vec<_>>().join(", ")
    };
    let number_of = |setting: &SettingReport| {
        let proven = setting.rows.iter().filter_map(|(_, v)| v.established()).max();
        let reached = setting.rows.iter().filter_map(|(_, v)| match v {
            RowVerdict::Reached { change } => Some(change),
            _ => None,
        });
        match (proven, reached.max()) {
            (Some(proven), _) => upper(Some(proven)),
            (None, Some(reached)) => lower(Some(reached)),
            (None, None) => html! {},
        }
    };
    let broken = |setting: &SettingReport| -> Vec<String> {
        let words = |(row, verdict): &(usize, RowVerdict)| match verdict {
            RowVerdict::Refuted { what, .. } => Some(format!("row {row}: {what}")),
            RowVerdict::Rejected(error) => Some(format!("row {row}: rejected: {error}")),
            _ => None,
        };
        setting.rows.iter().filter_map(words).collect()
    };
    let open = report.settings.len() == 1;
    html! {
        details.settings open[open] {
            summary { "What the checker confirmed: " (report.settings.len()) @if open { " statement" } @else { " statements" } }
            div.scroll { table.sortable {
                thead { tr { th.n { "setting" } th { "verdict" } th { "rows" } th.n { "worst row" } } }
                tbody { @for (i, setting) in report.settings.iter().enumerate() { tr {
                    th.n scope="row" { (i) }
                    td { (badge(setting.verdict)) }
                    td { (counts(setting)) @for line in broken(setting) { br; (line) } }
                    td.n { (number_of(setting)) }
                } } }
            } }
            @for separation in &report.separations {
                @let gap = separation.gap.as_ref();
                @let apart = gap.is_none_or(|gap| *gap > Rational::from_integer(1.into()));
                p { "Settings " (separation.below) " and " (separation.band) ": "
                    @if apart { "the scales are separated" } @else { "no separation of scales is shown" }
                    "; the band does " @match gap { Some(gap) => (number(gap, &at_least(gap))), None => "infinitely" }
                    " times what all finer detail can do." }
            }
        }
    }
}

/// Who checked what.
fn provenance(pair: &Pair) -> Markup {
    let report = &pair.report;
    let kinds = ["model", "claim"].into_iter().chain(std::iter::repeat("data"));
    html! {
        details.provenance {
            summary { "Who checked what" }
            dl.facts {
                dt { "checker" } dd { "scalecheck " (scalecheck::VERSION) ", in exact rational arithmetic, on these files" }
                dt { "generator" } dd { (pair.certificate.generator) }
                dt { "format" } dd { (report.format) }
                @for (kind, digest) in kinds.zip(&report.digests) {
                    dt { (kind) @if kind == "model" { " " (name(&pair.claim().model)) } " SHA-256" } dd { code { (digest) } }
                }
                dt { "certificate " (name(&pair.certificate_file)) " SHA-256" } dd { code { (pair.certificate_digest) } }
                @for [claim, certificate] in &report.links {
                    dt { "link" } dd { "claim " code { (claim) } ", certificate " code { (certificate) } }
                }
                dt { "re-check" }
                dd { code { "scalecheck verify " (pair.claim_file.display()) " " (pair.certificate_file.display()) } }
            }
        }
    }
}
