#pragma once

#include <string_view>

namespace mxferry::internal {

// The style of verify's page. Colors c0 to c7 differ in lightness, increasingly far from the
// background in both light and dark mode, so that they can be told apart without color vision; cx
// has a different hue.
inline constexpr std::string_view kHtmlStyle = R"(
:root { color-scheme: light dark;
  --page: #f6f7f8; --panel: #fff; --text: #1b1f23; --soft: #57606a; --line: #d5dae0;
  --good: #0b6bcb; --warn: #a14a00; --bad: #b3261e; --warn-back: #fff4e0; --bad-back: #fdeceb;
  --a: #7a8691; --b: #d9730d; --cx: #c6ddf2;
  --c0: #fff3c0; --c1: #fee391; --c2: #fec44f; --c3: #fe9929;
  --c4: #ec7014; --c5: #cc4c02; --c6: #993404; --c7: #5c1e04; }
@media (prefers-color-scheme: dark) { :root {
  --page: #111417; --panel: #1a1e23; --text: #e6e9ec; --soft: #9ba5af; --line: #363d45;
  --good: #79b8ff; --warn: #ffb454; --bad: #ff8a80; --warn-back: #2e2413; --bad-back: #351b1a;
  --a: #8d99a5; --b: #f0883e; --cx: #234d70;
  --c0: #3a2b1c; --c1: #54371a; --c2: #764718; --c3: #9c5c15;
  --c4: #c47716; --c5: #e79a25; --c6: #fbc55c; --c7: #fff0b8; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 76rem; background: var(--page);
  color: var(--text); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: clamp(1.3rem, 1rem + 1.6vw, 2rem); line-height: 1.25; margin: .5rem 0 0;
  text-wrap: pretty; }
h2 { font-size: 1.25rem; margin: 0 0 .25rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 .25rem; }
h3::first-letter { text-transform: uppercase; }
p, ul { margin: .25rem 0 .5rem; }
ul { padding-left: 1.25rem; }
code { font: .92em/1.4 ui-monospace, monospace; unicode-bidi: isolate; }
sup { line-height: 0; }
a { color: var(--good); }
header, section { background: var(--panel); border: 1px solid var(--line); border-radius: 10px;
  padding: 1rem 1.1rem; margin: 0 0 1rem; }
header { border-left: 8px solid var(--state); }
header > p { color: var(--soft); margin: 0; font-size: .875rem; }
.good { --state: var(--good); } .warn { --state: var(--warn); } .bad { --state: var(--bad); }
.status { font-weight: 700; color: var(--state); }
.alert { border-color: var(--warn); background: var(--warn-back); }
.alert.bad { border-color: var(--bad); background: var(--bad-back); }
.alert ul { columns: 26rem; } .alert code { font-size: .8em; }
.flag { display: block; width: fit-content; border-radius: 4px; padding: 0 .4em; font-size: .8rem;
  font-weight: 700; background: var(--bad); color: var(--panel); }
.soft, figcaption span { color: var(--soft); font-weight: 400; font-size: .875rem; }
dl { margin: 1rem 0 0; }
dt { color: var(--soft); font-size: .8125rem; }
dd { margin: 0; }
.sides { display: grid; gap: .75rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); }
.numbers { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(max(8.75rem, 18%), 1fr)); }
.numbers dd { font-size: 1.25rem; font-weight: 600; line-height: 1.3; overflow-wrap: break-word;
  text-wrap: balance; }
.numbers small { display: block; font-size: .8125rem; font-weight: 400; color: var(--soft); }
.pair { display: grid; gap: 1rem 1.5rem; }
figure { margin: .25rem 0 0; min-width: 0; }
figcaption { font-weight: 600; font-size: .9375rem; }
.box { overflow-x: auto; margin-top: .25rem; }
svg { display: block; width: 100%; height: auto; forced-color-adjust: none; }
svg text { font: 8.5px system-ui, sans-serif; fill: var(--soft); }
svg .middle { text-anchor: middle; } svg .end { text-anchor: end; } svg .up { font-size: 6px; }
svg.wide text { font-size: 11px; }
svg path:hover { stroke: var(--text); } svg .grid { stroke: var(--line); }
.ha { fill: var(--a); background: var(--a); } .hb { fill: var(--b); background: var(--b); }
.cx { fill: var(--cx); background: var(--cx); }
.c0 { fill: var(--c0); background: var(--c0); } .c1 { fill: var(--c1); background: var(--c1); }
.c2 { fill: var(--c2); background: var(--c2); } .c3 { fill: var(--c3); background: var(--c3); }
.c4 { fill: var(--c4); background: var(--c4); } .c5 { fill: var(--c5); background: var(--c5); }
.c6 { fill: var(--c6); background: var(--c6); } .c7 { fill: var(--c7); background: var(--c7); }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .1rem .9rem; padding: 0;
  font-size: .8125rem; color: var(--soft); }
.key { display: inline-block; width: .9em; height: .9em; margin-right: .35em; vertical-align: -.1em;
  border: 1px solid var(--line); forced-color-adjust: none; }
details { margin-top: .5rem; overflow-x: auto; } summary { cursor: pointer; color: var(--good); }
table { border-collapse: collapse; width: 100%; margin-top: .5rem; font-size: .875rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .9rem .35rem 0;
  border-top: 1px solid var(--line); font-weight: 400; overflow-wrap: break-word; }
thead th { color: var(--soft); font-size: .8125rem; border-top: 0; }
.cards th { width: 38%; overflow-wrap: anywhere; }
.cards thead th { width: auto; overflow-wrap: break-word; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
@media screen and (max-width: 50rem) {
  body { padding: .5rem .5rem 2rem; } header, section { padding: .75rem; }
  th, td { padding-right: .5rem; }
  .cards thead { display: none; }
  .cards tr { display: grid; grid-template-columns: 1fr 1fr; border-top: 1px solid var(--line);
    padding: .5rem 0; }
  .cards th { grid-column: 1 / -1; width: auto; }
  .cards th, .cards td { border: 0; padding: .1rem .5rem .1rem 0; }
  .cards td::before { content: attr(data-label); display: block; color: var(--soft);
    font-size: .75rem; }
  td.number { white-space: normal; } }
@media print {
  html { font-size: 11px; }
  body { max-width: none; padding: 0; }
  .pair:not(.wide) { grid-template-columns: 1fr 1fr !important; }
  h2, h3 { break-after: avoid; }
  header, section { break-inside: auto; border-radius: 0; }
  figure, tr { break-inside: avoid; }
  svg { min-width: 0 !important; }
  .box { overflow: visible; }
  * { print-color-adjust: exact; } }
)";

}  // namespace mxferry::internal
