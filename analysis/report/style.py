"""How a report looks: two palettes whose contrasts hold WCAG AA, and one sheet; no font and no picture is fetched."""

STEPS = 10  # shades of a cell
LIGHT = {
    "page": "#ffffff",
    "surface": "#f4f6f8",
    "ink": "#16191d",
    "muted": "#555e68",
    "line": "#d3d9df",
    "link": "#0a569f",
    "first": "#0a569f",  # blue, orange, teal, purple: told apart with any colour vision, and by their dashes
    "second": "#a84a00",
    "third": "#00695c",
    "fourth": "#8a3480",
    "warning": "#fff5e2",
    "warning-ink": "#5b3600",
    "warning-line": "#c46a00",
    "shade-low": "#f4f8fc",
    "shade-high": "#0b3d78",
}
DARK = {
    "page": "#13161a",
    "surface": "#1c2127",
    "ink": "#e7eaee",
    "muted": "#a5afba",
    "line": "#39424c",
    "link": "#76b9ff",
    "first": "#76b9ff",
    "second": "#ffa65c",
    "third": "#5fd0bd",
    "fourth": "#e29be0",
    "warning": "#2f2413",
    "warning-ink": "#ffdca6",
    "warning-line": "#d98a26",
    "shade-low": "#1b222b",
    "shade-high": "#a9d2ff",
}

SHEET = """
:root { color-scheme: light dark; @LIGHT }
@media (prefers-color-scheme: dark) { :root { @DARK } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-padding-top: 1rem; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI",
  Roboto, "Helvetica Neue", Arial, "Noto Sans", sans-serif; overflow-wrap: break-word; }
header, nav, main, footer { max-width: 62rem; margin: 0 auto; padding: 0 1rem; }
header { padding-top: 2.5rem; }
h1 { font-size: clamp(1.5rem, 1.1rem + 2vw, 2.1rem); line-height: 1.2; margin: 0 0 .6rem; letter-spacing: -.01em; }
h2 { font-size: 1.35rem; line-height: 1.25; margin: 2.6rem 0 .8rem; padding-top: .9rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.08rem; line-height: 1.3; margin: 1.9rem 0 .6rem; }
p { margin: .6rem 0; max-width: 46rem; }
.lead { font-size: 1.12rem; }
.muted, figcaption .more, .small { color: var(--muted); font-size: .875rem; }
a { color: var(--link); }
a:focus-visible, summary:focus-visible, .scroll:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.skip { position: absolute; left: -999px; }
.skip:focus { left: 1rem; top: .5rem; background: var(--page); padding: .4rem .8rem; }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; padding: 0; margin: 1rem 0 0; }
nav a { display: inline-block; padding: .25rem 0; }
.warnings { background: var(--warning); color: var(--warning-ink); border-left: 5px solid var(--warning-line);
  border-radius: 4px; padding: .7rem 1rem; margin: .8rem 0; }
.warnings ul { margin: 0; padding-left: 1.1rem; }
.warnings li { margin: .3rem 0; }
.scroll { overflow-x: auto; margin: 1rem 0; max-width: 100%; position: relative; }
table { border-collapse: collapse; font-size: .925rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--muted); font-size: .875rem; padding: 0 0 .45rem; }
caption span { position: sticky; left: 0; display: inline-block; max-width: min(60rem, calc(100vw - 2rem)); }
th, td { padding: .38rem .75rem; text-align: right; border-bottom: 1px solid var(--line); vertical-align: middle;
  white-space: nowrap; }
thead th { vertical-align: bottom; border-bottom: 2px solid var(--line); font-weight: 600; }
th { font-weight: 600; }
th[scope="row"], thead th:first-child, td.words, th.words { text-align: left; }
td.words { white-space: normal; overflow-wrap: break-word; min-width: 9rem; max-width: 34rem; }
tbody th[scope="row"] { font-weight: 500; position: sticky; left: 0; background: var(--page); }
table.texts th, table.texts td { text-align: left; }
table.texts td { white-space: normal; overflow-wrap: break-word; min-width: 7rem; max-width: 40rem; }
td .small { display: block; line-height: 1.1; color: inherit; font-size: .8rem; }
table.grid td { text-align: center; min-width: 4.6rem; border: 1px solid var(--page); padding: .5rem .4rem; }
table.grid thead th { text-align: center; border-bottom: 0; }
table.grid thead th:first-child { text-align: left; font-weight: 400; color: var(--muted); }
table.grid th[scope="row"] { border-bottom: 0; }
.best { font-weight: 700; }
.mark { color: var(--third); }
.sr { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
td svg { vertical-align: middle; display: inline-block; width: 8.5rem; height: 1.1rem; }
figure { margin: 1rem 0; }
figure > svg { display: block; width: 100%; height: auto; max-width: 30rem; }
figcaption { font-weight: 600; font-size: .95rem; margin-bottom: .4rem; }
figcaption .more { display: block; font-weight: 400; margin-top: .1rem; }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr)); gap: .4rem 2rem; }
.beside figure { display: grid; grid-template-rows: subgrid; grid-row: span 2; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 18rem), 1fr)); gap: 1.4rem;
  margin: 1rem 0; }
.gallery figure { margin: 0; }
.gallery figcaption { margin: .45rem 0 0; font-weight: 600; line-height: 1.35; }
.gallery .more { overflow-wrap: anywhere; }
img { display: block; max-width: 100%; height: auto; }
.gallery img { width: 100%; max-width: 28.5rem; border-radius: 3px; }
figure.wide img { min-width: 56rem; }
figure.plain img { background: #fff; border-radius: 4px; }
details { margin: 1rem 0; }
summary { cursor: pointer; color: var(--link); }
footer { margin-top: 3rem; padding-top: 1rem; padding-bottom: 3rem; border-top: 1px solid var(--line); }
svg text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; fill: var(--ink); }
svg .tick { fill: var(--muted); font-size: 11px; }
svg .count { fill: var(--ink); font-size: 9.5px; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .axis { stroke: var(--muted); stroke-width: 1; }
svg .guide { stroke: var(--muted); stroke-width: 1; stroke-dasharray: 3 3; }
svg .line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
svg .line.first, svg .whisker { stroke: var(--first); } svg .line.second { stroke: var(--second); }
svg .line.third { stroke: var(--third); } svg .line.fourth { stroke: var(--fourth); }
svg .line.first { stroke-dasharray: none; } svg .line.second { stroke-dasharray: 7 4; }
svg .line.third { stroke-dasharray: 2 4; } svg .line.fourth { stroke-dasharray: 9 3 2 3; }
svg .whisker { stroke-width: 2; } svg .dot { fill: var(--first); } svg .bar { fill: var(--first); opacity: .28; }
@SHADES
@media (max-width: 30rem) { th, td { padding: .35rem .5rem; } header { padding-top: 1.4rem; } }
@media print {
  :root { color-scheme: light; @LIGHT }
  @PRINTED
  body { font-size: 10.5pt; } nav, .skip { display: none; } .scroll { overflow: visible; }
  figure, tr, .warnings { break-inside: avoid; } h2, h3 { break-after: avoid; }
  td, .warnings, svg { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .gallery { grid-template-columns: repeat(3, 1fr); }
}
"""


def sheet() -> str:
    """The style sheet with both palettes filled in."""
    dark = "@media (prefers-color-scheme: dark) {\n" + shades(DARK) + "\n}"
    filled = SHEET.replace("@LIGHT", variables(LIGHT)).replace("@DARK", variables(DARK))
    return filled.replace("@SHADES", shades(LIGHT) + "\n" + dark).replace("@PRINTED", shades(LIGHT)).strip()


def variables(palette: dict[str, str]) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in palette.items() if not name.startswith("shade"))


def shades(palette: dict[str, str]) -> str:
    """A class for each shade, with the text colour that can be read on it."""
    lines = []
    for step in range(STEPS + 1):
        back = mix(palette["shade-low"], palette["shade-high"], step / STEPS)
        lines.append(f"td.s{step} {{ background: {back}; color: {text_on(back)}; }}")
    return "\n".join(lines)


def mix(low: str, high: str, share: float) -> str:
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(levels(low), levels(high), strict=True))


def levels(colour: str) -> list[int]:
    return [int(colour[place : place + 2], 16) for place in (1, 3, 5)]


def text_on(back: str) -> str:
    """Black or white: one of them always reaches 4.5 : 1."""
    return max("#000000", "#ffffff", key=lambda text: contrast(text, back))


def contrast(one: str, other: str) -> float:
    """WCAG's ratio of two colours' luminances."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (x / 255 for x in levels(colour))]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
