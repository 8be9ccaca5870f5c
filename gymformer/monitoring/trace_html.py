"""The heat map of a token trace: HTML that needs nothing from outside and works without a script."""

from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby

from gymformer.monitoring.trace import (
    METRICS,
    NOT_KEPT,
    UNFINISHED,
    Metric,
    Scale,
    TokenTrace,
    TracedToken,
    hangs,
    number,
    visible,
    visible_character,
)

__all__ = ["SCRIPT", "STYLE", "fragment", "heat_map", "page"]

FOLD = 160  # tokens of the environment in a row; of more, the middle is folded away
HEAD, TAIL = 40, 80  # tokens of such a stretch that stay in sight
BAR = 14  # pixels that a decision takes in the chart at most


def fragment(trace: TokenTrace, metric: str | None) -> str:
    """One trace with the style and the script that it needs. `metric` colours the tokens at first."""
    return f"<style>{STYLE}</style>{heat_map(trace, metric)}<script>{SCRIPT}</script>"


def page(traces: Sequence[TokenTrace], metrics: Sequence[str | None], title: str = "") -> str:
    """A whole document. `metrics`: of each trace the one that colours it at first."""
    title = title or next((trace.title for trace in traces if trace.title), "") or "token trace"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(visible(title))}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{PAGE_STYLE}{STYLE}</style></head>'
        f"<body>{''.join(heat_map(trace, metric) for trace, metric in zip(traces, metrics, strict=True))}"
        f"<script>{SCRIPT}</script></body></html>\n"
    )


def heat_map(trace: TokenTrace, metric: str | None) -> str:
    """One trace without the style and the script that it needs. It is a form, because its radio buttons then belong together
    and to no other trace on the page; it sends nothing."""
    scales = {m: trace.scale_of(m) for m in trace.metrics}
    parts = [_header(trace)]
    if scales:
        parts += [_tabs(scales, metric), *(_legend(m, scale, trace) for m, scale in scales.items())]
    parts += ['<div class="text">', *_rows(trace, scales), "</div>", _info(trace)]
    return f'<form class="gymformer-trace" method="dialog" autocomplete="off">{"".join(parts)}</form>'


def _header(trace: TokenTrace) -> str:
    facts = "".join(
        f"<div><b>{_number(value) if isinstance(value, float) else escape(visible(str(value)))}</b><span>{escape(name)}</span></div>"
        for name, value in trace.summary.items()
    )
    return f'<h4>{escape(visible(trace.title or "token trace"))}</h4><div class="facts">{facts}</div>'


def _tabs(scales: dict[Metric, Scale], chosen: str | None) -> str:
    tabs = "".join(
        f'<label><input type="radio" name="metric" value="{m.name}"{" checked" if m.name == chosen else ""}>'
        f"<span>{escape(m.label)}</span></label>"
        for m in scales
    )
    return f'<div class="tabs" role="radiogroup" aria-label="what colours the tokens">{tabs}</div>'


def _legend(metric: Metric, scale: Scale, trace: TokenTrace) -> str:
    """What the colours of one metric mean, and its course over the decisions."""
    least, most = (_number(metric.value(x)) for x in (-scale.end, scale.end))
    beyond = ("≤ ", "≥ ") if metric.kind != "surprise" else ("≥ ", "≤ ")
    marks = beyond if scale.clipped else ("", "")
    ends = [marks[0] + least] if metric.is_diverging else []
    ends += [_number(metric.value(0.0)), marks[1] + most]
    labels = "".join(f"<span>{end}</span>" for end in ends)
    return (
        f'<div class="legend of-{metric.name} {"diverging" if metric.is_diverging else metric.kind}"><div class="key">'
        f'<div class="ramp"></div><div class="ends">{labels}</div></div>'
        f"<p>{escape(metric.meaning)}</p>{_chart(metric, scale, trace)}</div>"
    )


def _chart(metric: Metric, scale: Scale, trace: TokenTrace) -> str:
    """A bar for each decision, upwards where the coordinate is positive."""
    decisions = trace.decisions
    bars: dict[str, list[str]] = {"up": [], "down": []}
    for token in decisions:
        height = _coordinate(token, metric, scale)
        if height:
            t = token.decision
            bars["up" if height > 0 else "down"].append(f"M{t} 0h.85V{-height:.3f}H{t}z")
    top, size = ("-1", "2") if metric.is_diverging else ("-1", "1")
    paths = "".join(f'<path class="{name}" d="{"".join(path)}"/>' for name, path in bars.items() if path)
    return (
        f'<svg viewBox="0 {top} {len(decisions)} {size}" preserveAspectRatio="none" style="max-width:{BAR * len(decisions)}px" '
        f'role="img" aria-label="{escape(metric.label)} of each decision">'
        f'<path class="zero" d="M0 0H{len(decisions)}"/>{paths}<path class="cursor" d=""/></svg>'
    )


def _rows(trace: TokenTrace, scales: dict[Metric, Scale]) -> Iterator[str]:
    count = len({token.row for token in trace.tokens})
    for row, tokens in groupby(trace.tokens, key=lambda token: token.row):
        if count > 1:
            yield f"<h5>row {row + 1} of {count}{': the environment rewrote the history' if row else ''}</h5>"
        yield '<div class="tokens">'
        for is_decision, run in groupby(tokens, key=lambda token: token.decision is not None):
            run = list(run)
            if is_decision or len(run) <= FOLD:
                yield from (_token(token, scales) for token in run)
                continue
            yield from (_token(token, scales) for token in run[:HEAD])
            yield f'<label class="fold"><input type="checkbox"> … {len(run) - HEAD - TAIL} more tokens … </label><span class="folded">'
            yield from (_token(token, scales) for token in run[HEAD:-TAIL])
            yield "</span>"
            yield from (_token(token, scales) for token in run[-TAIL:])
        yield "</div>"


def _token(token: TracedToken, scales: dict[Metric, Scale]) -> str:
    """A span. Its title holds all its numbers, a line each; a browser shows it, and the script shows it better."""
    name = visible(token.text, "·") or "∅"
    if token.decision is None:
        title = f"{name}\tid {token.id}\nwritten by the environment\t"
        return f'<span class="e" title="{_attribute(title)}">{_text(token.text)}</span>'
    lines = [f"{name}\tid {token.id}", f"decision\t{token.decision}"]
    lines += [] if token.kept else [f"{NOT_KEPT}\t"]
    lines += [f"{metric.label}\t{_number(value)}" for metric in scales if (value := getattr(token, metric.name)) is not None]
    lines += [f"{visible(name)}\t{_number(value)}" for name, value in token.noted.items()]
    colours = ((metric, _coordinate(token, metric, scale)) for metric, scale in scales.items())
    style = ";".join(f"--{metric.name}:{x:.3f}".rstrip("0").rstrip(".") for metric, x in colours if abs(x) >= 0.0005)
    kind = "t" if token.kept else "t lost"
    return (
        f'<span class="{kind}" data-t="{token.decision}" style="{style}" title="{_attribute(chr(10).join(lines))}">'
        f"{_text(token.text)}</span>"
    )


def _coordinate(token: TracedToken, metric: Metric, scale: Scale) -> float:
    """In [-1, 1]; an unknown number is 0."""
    value = getattr(token, metric.name)
    return 0.0 if value is None else scale(metric.coordinate(value))


def _text(text: str) -> str:
    """A token as it stands in the text. What is marked can be seen and not copied; spaces and line ends remain what they are."""
    if not text:
        return "<em>∅</em>"
    pieces = ["<em>◌</em>"] if hangs(text) else []
    for char in text:
        shown = visible_character(char)
        if char == " ":
            pieces.append("<i> </i>")
        elif char in "\n\t":
            pieces.append(f"<em>{shown}</em>{char}")
        else:
            pieces.append(escape(shown) if shown == char != UNFINISHED else f"<em>{shown}</em>")
    return "".join(pieces)


def _number(value: float) -> str:
    """With a minus sign, which is as wide as a digit; a hyphen is not."""
    return number(value).replace("-", "−")


def _attribute(text: str) -> str:
    return escape(text).replace("\n", "&#10;").replace("\t", "&#9;")


def _info(trace: TokenTrace) -> str:
    """What the environment said, folded."""
    if not trace.info:
        return ""
    items = "".join(f"<dt>{escape(visible(name))}</dt><dd>{_text(text)}</dd>" for name, text in trace.info.items())
    return f'<details><summary>what the environment says</summary><dl class="info">{items}</dl></details>'


COLOURS = {"signed": "59 130 246", "ratio": "59 130 246", "surprise": "168 85 247", "amount": "20 160 140"}
CHOSEN = "".join(
    f".gymformer-trace:has(input[value={m.name}]:checked){{--high:{COLOURS[m.kind]}}}"
    f".gymformer-trace:has(input[value={m.name}]:checked) .t{{--x:var(--{m.name},0)}}"
    f".gymformer-trace:has(input[value={m.name}]:checked) .of-{m.name}{{display:grid}}"
    for m in METRICS
)
# Colours are laid over whatever the page's background is, and text keeps the page's own colour: readable in light and dark.
STYLE = (
    """
.gymformer-trace{--high:59 130 246;--low:245 115 22;--most:.62;--line:rgb(128 128 128/.28);position:relative;max-width:76em;
margin:.6em 0;padding:16px 20px;border:1px solid var(--line);border-radius:12px;font:13px/1.5 system-ui,-apple-system,"Segoe UI",
Roboto,sans-serif;text-align:left;color:inherit;box-sizing:border-box}
.gymformer-trace h4{margin:0 0 10px;font:inherit;font-size:15px;font-weight:600}
.gymformer-trace .facts{display:flex;flex-wrap:wrap;gap:8px 30px}
.gymformer-trace .facts div{display:flex;flex-direction:column-reverse}
.gymformer-trace .facts b{font-size:17px;line-height:1.3;font-weight:600;font-variant-numeric:tabular-nums}
.gymformer-trace .facts span{font-size:11px;opacity:.6}
.gymformer-trace .tabs{display:flex;flex-wrap:wrap;gap:2px;margin:14px 0 12px;padding:3px;border-radius:9px;
background:rgb(128 128 128/.12);width:fit-content}
.gymformer-trace .tabs label{margin:0;font-weight:400;cursor:pointer;position:relative}
.gymformer-trace .tabs input{position:absolute;opacity:0;width:1px;height:1px;margin:0}
.gymformer-trace .tabs span{display:block;padding:3px 11px;border-radius:7px;opacity:.7}
.gymformer-trace .tabs label:hover span{opacity:1}
.gymformer-trace .tabs input:checked+span{opacity:1;font-weight:600;background:rgb(var(--high)/.28)}
.gymformer-trace .tabs input:focus-visible+span{outline:2px solid rgb(var(--high))}
.gymformer-trace .legend{display:none;grid-template-columns:230px 1fr;gap:4px 22px;align-items:start}
.gymformer-trace .legend p{margin:-3px 0 0;opacity:.7}
.gymformer-trace .ramp{height:11px;border-radius:3px;background:linear-gradient(90deg,rgb(var(--high)/0),rgb(var(--high)/var(--most)));
box-shadow:inset 0 0 0 1px var(--line)}
.gymformer-trace .diverging .ramp{background:linear-gradient(90deg,rgb(var(--low)/var(--most)),rgb(var(--low)/0) 50%,
rgb(var(--high)/0) 50%,rgb(var(--high)/var(--most)))}
.gymformer-trace .ends{display:flex;justify-content:space-between;font-size:11px;font-variant-numeric:tabular-nums;opacity:.75}
.gymformer-trace svg{grid-column:1/-1;display:block;width:100%;height:52px;margin:8px 0 2px;overflow:visible}
.gymformer-trace svg .up{fill:rgb(var(--high)/.85)}
.gymformer-trace svg .down{fill:rgb(var(--low)/.85)}
.gymformer-trace svg .zero,.gymformer-trace svg .cursor{stroke:currentColor;stroke-width:1px;vector-effect:non-scaling-stroke;
fill:none;opacity:.35}
.gymformer-trace svg .cursor{opacity:.9}
.gymformer-trace .text{margin-top:12px;padding-top:12px;border-top:1px solid var(--line);max-height:44em;overflow:auto;
font:13.5px/1.85 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
.gymformer-trace .tokens{display:block;margin:0;white-space:pre-wrap;overflow-wrap:anywhere;tab-size:4}
.gymformer-trace h5{margin:14px 0 4px;font:600 11px/1.4 system-ui,sans-serif;opacity:.6}
.gymformer-trace h5:first-child{margin-top:0}
.gymformer-trace .e{opacity:.55;border-radius:3px}
.gymformer-trace .t{--x:0;padding:2px 0;border-radius:3px;box-shadow:inset -1px 0 var(--line);background:
linear-gradient(rgb(var(--high)/max(0,var(--x)*var(--most))) 0 0),linear-gradient(rgb(var(--low)/max(0,var(--x)*var(--most)*-1)) 0 0);
-webkit-box-decoration-break:clone;box-decoration-break:clone}
.gymformer-trace .lost{text-decoration:line-through;outline:1px dashed currentColor;outline-offset:-1px}
.gymformer-trace .t:hover,.gymformer-trace .e:hover,.gymformer-trace .on{outline:2px solid currentColor;outline-offset:0;opacity:1}
.gymformer-trace em{font-style:normal;font-weight:400;opacity:.5;user-select:none;-webkit-user-select:none}
.gymformer-trace i{font-style:normal}
.gymformer-trace .text i{background:radial-gradient(circle,currentColor .7px,transparent 1.1px) center;opacity:.45}
.gymformer-trace .fold{cursor:pointer;font-weight:400;border:1px solid var(--line);border-radius:6px;padding:1px 3px;opacity:.8;
font-size:12px;margin:0 4px}
.gymformer-trace .fold input{display:none}
.gymformer-trace .folded{display:none}
.gymformer-trace .fold:has(:checked){display:none}
.gymformer-trace .fold:has(:checked)+.folded{display:inline}
.gymformer-trace details{margin-top:12px}
.gymformer-trace summary{cursor:pointer;opacity:.7}
.gymformer-trace .info{display:grid;grid-template-columns:max-content 1fr;gap:4px 18px;margin:8px 0 0}
.gymformer-trace .info dt{opacity:.6;font-weight:400;float:none}
.gymformer-trace .info dd{margin:0;white-space:pre-wrap;overflow-wrap:anywhere;font-family:ui-monospace,Menlo,Consolas,monospace}
.gymformer-trace .tip{position:absolute;z-index:9;pointer-events:none;background:#1b2130;color:#e9edf5;border-radius:9px;
border:1px solid rgb(255 255 255/.16);
padding:9px 13px;font:12px/1.55 system-ui,sans-serif;box-shadow:0 6px 24px rgb(0 0 0/.35);white-space:nowrap}
.gymformer-trace .tip div{display:flex;justify-content:space-between;gap:26px}
.gymformer-trace .tip div:first-child{border-bottom:1px solid rgb(255 255 255/.18);padding-bottom:4px;margin-bottom:5px}
.gymformer-trace .tip b{font-weight:400;opacity:.72}
.gymformer-trace .tip div:first-child b{font:600 13px/1.6 ui-monospace,Menlo,Consolas,monospace;opacity:1;max-width:26em;
overflow:hidden;text-overflow:ellipsis}
.gymformer-trace .tip u{text-decoration:none;font-variant-numeric:tabular-nums}
.gymformer-trace .tip div:first-child u{opacity:.6}
""".replace("\n", "")
    + CHOSEN
)
PAGE_STYLE = (
    ":root{color-scheme:light dark}body{margin:0 auto;padding:2em 1.2em;max-width:78em;background:Canvas;color:CanvasText}"
    ".gymformer-trace{margin:0 0 1.6em}"
)
# One listener for all traces of a document. Without it a browser shows each token's title.
SCRIPT = """(() => {
if (window.gymformerTrace) return;
window.gymformerTrace = true;
const tip = document.createElement("div");
tip.className = "tip";
let held = null;
function line(text) {
  const row = document.createElement("div"), [name, value] = text.split("\\t");
  for (const [tag, content] of [["b", name], ["u", value]]) {
    row.append(Object.assign(document.createElement(tag), {textContent: content}));
  }
  return row;
}
function cursors(root, t) {
  for (const cursor of root.querySelectorAll(".cursor")) cursor.setAttribute("d", t === undefined ? "" : `M${+t + .42} -1V1`);
}
function hide() {
  if (!held) return;
  held.classList.remove("on");
  held.title = held.dataset.tip;
  cursors(held.closest(".gymformer-trace"));
  tip.remove();
  held = null;
}
function show(token, anchor) {
  const root = token.closest(".gymformer-trace");
  if (token !== held) {
    hide();
    held = token;
    token.dataset.tip = token.title;
    token.removeAttribute("title");
    token.classList.add("on");
    tip.replaceChildren(...token.dataset.tip.split("\\n").map(line));
    root.append(tip);
    cursors(root, token.dataset.t);
  }
  const frame = root.getBoundingClientRect();
  const left = Math.max(8, Math.min(anchor.left - frame.left, frame.width - tip.offsetWidth - 8));
  const above = anchor.top - 8 - tip.offsetHeight, below = anchor.bottom + 8;
  const fits = below + tip.offsetHeight <= Math.min(frame.bottom, window.innerHeight);
  tip.style.left = left + "px";
  tip.style.top = (fits || above < 0 ? below : above) - frame.top + "px";
}
document.addEventListener("mousemove", event => {
  const target = event.composedPath()[0];
  if (!(target instanceof Element)) return hide();
  const token = target.closest(".gymformer-trace :is(.t, .e)"), chart = target.closest(".gymformer-trace svg");
  if (token) return show(token, token.getClientRects()[0]);
  if (!chart) return hide();
  const frame = chart.getBoundingClientRect(), count = chart.viewBox.baseVal.width;
  const t = Math.min(count - 1, Math.max(0, Math.floor((event.clientX - frame.left) / frame.width * count)));
  const decided = chart.closest(".gymformer-trace").querySelector(`[data-t="${t}"]`);
  if (decided) show(decided, {left: event.clientX, top: frame.top, bottom: frame.bottom});
});
})()"""
