//! Draws the ratios of all rows as `docs/benchmarks.svg`: one bar per case, and beside it one for each further server.
//!
//! A bar starts at the line of equal cost. It grows to the left if the module needs less CPU than the server's own command or script, and
//! to the right if it needs more, on a logarithmic scale: half and twice are equally far. The colours work on light and dark pages.

use std::fmt::Write as _;

use super::cases;
use super::results::{Results, Row};

/// Pixels. What a case is compared with stands at `COMPARED`, the plot begins at `LABEL`.
const COMPARED: f64 = 255.0;
const LABEL: f64 = 470.0;
const PLOT: f64 = 420.0;
const VALUE: f64 = 60.0;
const BAR: f64 = 9.0;
const GAP: f64 = 5.0;
const HEAD: f64 = 40.0;
const LEGEND: f64 = 70.0;

/// The ratios at the ends of the scale. A bar beyond them ends there; its number is still right.
const SCALE: (f64, f64) = (0.125, 8.0);
const TICKS: [f64; 7] = [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0];

/// A colour for each server; the second half of each pair is for dark pages.
const COLOURS: [(&str, &str); 4] =
    [("#1f6feb", "#58a6ff"), ("#bc4c00", "#f0883e"), ("#1a7f37", "#56d364"), ("#8250df", "#bc8cff")];

/// The bars of one case on all servers.
struct Case<'a> {
    name: &'a str,
    compared_with: &'a str,
    /// By the number of the server.
    bars: Vec<(usize, &'a Row)>,
}

pub fn chart(results: &Results) -> String {
    let mut body = String::new();
    let mut y = LEGEND;
    for title in cases::groups().iter().map(|group| group.title) {
        let cases = cases_of(results, title);
        if !cases.is_empty() {
            y = section(&mut body, title, &cases, y);
        }
    }
    let (width, height) = (LABEL + PLOT + VALUE, y + GAP);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <title>CPU time relative to the server's own</title>\n{}{}{body}</svg>\n",
        style(),
        legend(results),
    )
}

/// The rows with this title, case by case in the order of the first server that has them.
fn cases_of<'a>(results: &'a Results, title: &str) -> Vec<Case<'a>> {
    let mut cases: Vec<Case> = Vec::new();
    for (number, server) in results.servers.iter().enumerate() {
        for row in server.sections.iter().filter(|section| section.title == title).flat_map(|section| &section.rows) {
            let same = |case: &&mut Case| case.name == row.case && case.compared_with == row.compared_with;
            match cases.iter_mut().find(same) {
                Some(case) => case.bars.push((number, row)),
                None => cases.push(Case { name: &row.case, compared_with: &row.compared_with, bars: vec![(number, row)] }),
            }
        }
    }
    cases
}

fn style() -> String {
    let colours = |dark: bool| -> String {
        let colour =
            |(number, (light, night)): (usize, &(&str, &str))| format!(".s{number}{{fill:{}}}", if dark { night } else { light });
        COLOURS.iter().enumerate().map(colour).collect()
    };
    format!(
        "<style>.page{{fill:#fff}}text{{fill:#1f2328}}.minor{{fill:#59636e}}line{{stroke:#d1d9e0}}.one{{stroke:#1f2328}}{}\
         @media (prefers-color-scheme:dark){{.page{{fill:#0d1117}}text{{fill:#f0f6fc}}.minor{{fill:#9198a1}}line{{stroke:#3d444d}}\
         .one{{stroke:#f0f6fc}}{}}}</style>\n<rect class=\"page\" width=\"100%\" height=\"100%\"/>\n",
        colours(false),
        colours(true),
    )
}

fn legend(results: &Results) -> String {
    let mut text = "<text x=\"10\" y=\"20\" font-size=\"14\" font-weight=\"bold\">CPU time relative to the server's own</text>\n\
         <text x=\"10\" y=\"38\" class=\"minor\">left of the line: less CPU; right of it: more; a filled dot marks a goal that was \
         missed</text>\n"
        .to_owned();
    for (number, server) in results.servers.iter().enumerate() {
        let (x, colour) = (10 + number * 160, number % COLOURS.len());
        let name = escaped(&format!("{} {}", server.product, server.version));
        let _ = writeln!(
            text,
            "<rect class=\"s{colour}\" x=\"{x}\" y=\"50\" width=\"12\" height=\"9\"/><text x=\"{}\" y=\"59\">{name}</text>",
            x + 18
        );
    }
    text
}

/// Draws a section from `y` on, and returns where it ends.
fn section(body: &mut String, title: &str, cases: &[Case], y: f64) -> f64 {
    let top = y + HEAD;
    let bottom = top + cases.iter().map(height).sum::<f64>();
    let _ =
        writeln!(body, "<text x=\"10\" y=\"{:.1}\" font-size=\"13\" font-weight=\"bold\">{}</text>", y + 20.0, escaped(title));
    for tick in TICKS {
        let (x, class) = (place(tick), if tick == 1.0 { " class=\"one\"" } else { "" });
        let _ = writeln!(
            body,
            "<line{class} x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\"/>\
             <text class=\"minor\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"9\">{tick}</text>",
            top - 4.0,
            top - 7.0,
        );
    }
    let mut y = top;
    for case in cases {
        let label = y + height(case) / 2.0;
        let _ = writeln!(
            body,
            "<text x=\"10\" y=\"{label:.1}\">{}</text><text class=\"minor\" x=\"{COMPARED}\" y=\"{label:.1}\">{}</text>",
            escaped(case.name),
            escaped(case.compared_with),
        );
        for (place, (server, row)) in (0_u8..).zip(&case.bars) {
            bar(body, *server, row, y + f64::from(place) * BAR);
        }
        y += height(case);
    }
    bottom
}

#[allow(clippy::cast_precision_loss, reason = "a few servers")]
fn height(case: &Case) -> f64 {
    case.bars.len() as f64 * BAR + GAP
}

fn bar(body: &mut String, server: usize, row: &Row, y: f64) {
    let (one, end) = (place(1.0), place(row.ratio));
    let (left, width) = (one.min(end), (one - end).abs());
    let missed = row.goal.is_some_and(|goal| !goal.reached);
    let colour = server % COLOURS.len();
    let _ = writeln!(
        body,
        "<rect class=\"s{colour}\" x=\"{left:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\" font-size=\"9\">{:.2}{}</text>",
        BAR - 1.0,
        LABEL + PLOT + 6.0,
        y + BAR - 1.5,
        row.ratio,
        if missed { " \u{25cf}" } else { "" },
    );
}

/// Where a ratio lies on the scale, in pixels from the left.
fn place(ratio: f64) -> f64 {
    let (least, most) = SCALE;
    let part = (ratio.clamp(least, most) / least).ln() / (most / least).ln();
    LABEL + part * PLOT
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
