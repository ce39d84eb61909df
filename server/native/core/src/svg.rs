//! The flame graph as a picture that stands alone: no script, nothing loaded from elsewhere.

use std::fmt::Write;

use crate::flamebearer::Flamebearer;

const WIDTH: f64 = 1200.0;
const ROW: usize = 18;
/// Narrower frames cannot be seen.
const NARROWEST: f64 = 0.3;
const CHARACTER: f64 = 6.6;
/// Hues that differ for readers who do not see all colours, as (hue, saturation, lightness).
const COLOURS: [(u32, u32, u32); 6] =
    [(28, 85, 66), (45, 85, 62), (14, 75, 68), (200, 60, 70), (168, 45, 66), (330, 45, 74)];

/// Draws the graph, the root at the top. Each frame says its name, value and share when it is pointed at.
#[allow(clippy::cast_precision_loss)] // pixels
pub fn svg(graph: &Flamebearer<'_>, title: &str, unit: &str) -> String {
    let levels = graph.levels();
    let total = graph.total();
    let height = (levels.len() + 2) * ROW;
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" font-family=\"monospace\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" \
         fill=\"#fff\"/>\n<text x=\"4\" y=\"14\">{}</text>\n",
        escaped(title)
    );
    for (depth, level) in levels.iter().enumerate() {
        let mut left = 0i64;
        for frame in level.chunks_exact(4) {
            let &[gap, value, _, name] = frame else { continue };
            let start = left.saturating_add(gap);
            left = start.saturating_add(value);
            let scale = |value: i64| if total > 0 { value as f64 * WIDTH / total as f64 } else { 0.0 };
            let (x, width) = (scale(start), scale(value));
            if width < NARROWEST {
                continue;
            }
            let name = usize::try_from(name).ok().and_then(|name| graph.names().get(name).copied()).unwrap_or("");
            let share = if total > 0 { value as f64 * 100.0 / total as f64 } else { 0.0 };
            let y = (depth + 1) * ROW;
            let _ = write!(
                out,
                "<g><title>{} ({value} {}, {share:.2}%)</title><rect x=\"{x:.2}\" y=\"{y}\" width=\"{width:.2}\" \
                 height=\"{}\" fill=\"{}\" stroke=\"#fff\" stroke-width=\"0.5\"/>",
                escaped(name),
                escaped(unit),
                ROW - 1,
                colour(name)
            );
            let room = (width / CHARACTER) as usize;
            if room > 3 {
                let _ =
                    write!(out, "<text x=\"{:.2}\" y=\"{}\">{}</text>", x + 3.0, y + 13, escaped(&cut(name, room - 1)));
            }
            out.push_str("</g>\n");
        }
    }
    out.push_str("</svg>\n");
    out
}

fn cut(name: &str, room: usize) -> String {
    if name.chars().count() <= room {
        return name.to_owned();
    }
    name.chars().take(room.saturating_sub(1)).chain(['…']).collect()
}

/// One colour for all functions of a module or package, as far as the name tells.
fn colour(name: &str) -> String {
    let group = name.rsplit_once(['.', '/', ':']).map_or(name, |(group, _)| group);
    let hash = crate::hash::of_bytes(group.as_bytes());
    let (hue, saturation, lightness) = COLOURS.get((hash % 6) as usize).copied().unwrap_or((28, 85, 66));
    format!("hsl({hue},{saturation}%,{}%)", lightness + (hash >> 32) as u32 % 9)
}

/// Escapes what XML gives a meaning, and leaves out what it forbids.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\u{FFFE}' | '\u{FFFF}' => {}
            other if other < ' ' => out.push(' '),
            other => out.push(other),
        }
    }
    out
}
