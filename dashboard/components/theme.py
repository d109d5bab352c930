"""How everything looks: one style sheet, in the browser's light or dark colours."""

from typing import Final

_STYLE: Final = """
:root {
  --ground: #f5f6f8; --box: #ffffff; --line: #e2e5ea; --ink: #1b2330; --soft: #5c6675; --faint: #9aa3b0;
  --edge: #c2c9d2; --accent: #0f6f80; --accent-soft: #e3f1f3; --hover: #f3f5f8; --top: #ffffff;
  --good: #157347; --good-soft: #dcf3e6; --busy: #1d5fbf; --busy-soft: #dfeafb; --wait: #5c6675; --wait-soft: #e9ecf0;
  --warn: #8a5a00; --warn-soft: #fbecc9; --bad: #b3261e; --bad-soft: #fbe0dd; --off: #6b7482; --off-soft: #eceef1;
  --nicegui-default-gap: 0.75rem;
  color-scheme: light dark;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #12161d; --box: #1a2029; --line: #2b333f; --ink: #e4e8ee; --soft: #a5aebb; --faint: #6f7a89;
    --edge: #4a5464; --accent: #58c4d4; --accent-soft: #17343b; --hover: #212936; --top: #1a2029;
    --good: #6bd49c; --good-soft: #16372a; --busy: #8ab8ff; --busy-soft: #1b3153; --wait: #b0b8c4;
    --wait-soft: #2a323d;
    --warn: #f2c266; --warn-soft: #40310f; --bad: #ff9c93; --bad-soft: #4a1f1d; --off: #97a1af; --off-soft: #262d37;
  }
}
body, body.body--dark { background: var(--ground); color: var(--ink); font-size: 14px; line-height: 1.45;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; }
:root, body { --q-primary: var(--accent) !important; --q-negative: var(--bad) !important; }
.nicegui-content { padding: 0; gap: 0; align-items: stretch; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
.grow { flex: 1 1 auto; }
.faint { color: var(--faint); }
.mono { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 12.5px; }
.q-btn { border-radius: 7px; }
.q-notification.bg-negative .q-notification__content *, .q-notification.bg-negative .q-btn {
  color: var(--box) !important; }
.q-btn.primary { background: var(--accent); color: var(--box); }
.q-btn.quiet { color: var(--soft); }
.q-btn.danger { color: var(--bad); }
.q-btn.plain { border: 1px solid var(--line); color: var(--ink); background: var(--box); }

/* frame */
.top.q-header { background: var(--top); color: var(--ink); border-bottom: 1px solid var(--line); height: 52px;
  padding: 0 16px; gap: 10px; align-items: center; flex-wrap: nowrap; box-shadow: none; }
.menu-button { display: none; }
.brand { display: flex; align-items: center; gap: 8px; font-weight: 650; font-size: 16px; color: var(--ink); }
.brand:hover { text-decoration: none; }
.brand .q-icon { color: var(--accent); font-size: 22px; }
.who { color: var(--soft); max-width: 30vw; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.side.q-drawer, .q-drawer { background: var(--top) !important; border-right: 1px solid var(--line); }
.q-drawer .nicegui-drawer, .side { padding: 10px 8px !important; }
.side nav { display: flex; flex-direction: column; gap: 2px; width: 100%; }
.side nav a { display: flex; align-items: center; gap: 10px; padding: 7px 10px; border-radius: 7px;
  color: var(--soft); }
.side nav a:hover { background: var(--hover); text-decoration: none; color: var(--ink); }
.side nav a.here { background: var(--accent-soft); color: var(--accent); font-weight: 600; }
.side nav .q-icon { font-size: 19px; }
.page { width: 100%; max-width: 1480px; margin: 0 auto; padding: 18px 22px 48px; box-sizing: border-box; }
.banner { display: flex; align-items: center; gap: 10px; padding: 9px 14px; margin-bottom: 14px; border-radius: 8px;
  background: var(--warn-soft); color: var(--warn); overflow-wrap: anywhere; }
.banner .q-icon { font-size: 20px; }
.loading { display: flex; justify-content: center; padding: 80px 0; color: var(--faint); }
.content { display: flex; flex-direction: column; gap: 14px; min-width: 0; }
.content > div:empty { display: none; }
.content.stale > *:not(.heading) { opacity: 0.6; }

/* headings and boxes */
.heading { display: flex; align-items: center; gap: 10px 14px; flex-wrap: wrap; min-height: 36px; }
.titles { display: flex; align-items: baseline; flex-wrap: wrap; gap: 4px 8px; min-width: 0; flex: 1 1 300px; }
.title { font-size: 20px; font-weight: 650; letter-spacing: -0.01em; overflow-wrap: anywhere; min-width: 0; }
.above { font-size: 15px; color: var(--soft); }
.actions { display: flex; align-items: center; gap: 8px; flex-wrap: wrap; }
.grid { display: grid; gap: 14px; min-width: 0; }
.grid > * { min-width: 0; }
.grid.two { grid-template-columns: repeat(auto-fit, minmax(min(100%, 430px), 1fr)); }
.grid.figures { grid-template-columns: repeat(auto-fit, minmax(min(46%, 158px), 1fr)); gap: 10px; }
.box { background: var(--box); border: 1px solid var(--line); border-radius: 10px; min-width: 0; overflow: hidden; }
.box:has(.selector-box) { overflow: visible; } /* its offers reach beyond */
.box.wide { grid-column: 1 / -1; }
.box-head { display: flex; align-items: center; gap: 8px 10px; padding: 10px 14px 8px; min-height: 28px;
  flex-wrap: wrap; }
.box-head.untitled { display: none; }
.box-title { font-weight: 600; }
.hint { color: var(--faint); font-size: 12.5px; }
.inside { padding: 4px 14px 14px; }
.figure { display: block; background: var(--box); border: 1px solid var(--line); border-radius: 10px;
  padding: 10px 14px;
  color: var(--ink); min-height: 82px; box-sizing: border-box; min-width: 0; }
a.figure:hover { border-color: var(--accent); text-decoration: none; }
.figure .name { color: var(--soft); font-size: 12.5px; overflow-wrap: anywhere; }
.figure .value { font-size: 24px; font-weight: 620; letter-spacing: -0.02em; line-height: 1.25;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.figure .note { color: var(--faint); font-size: 12px; overflow-wrap: anywhere; }
.facts { display: grid; grid-template-columns: minmax(110px, max-content) minmax(0, 1fr); gap: 5px 16px;
  padding: 4px 14px 14px; }
.facts:empty { display: none; }
.facts .name { color: var(--soft); }
.facts .value { overflow-wrap: anywhere; }
.empty { display: flex; flex-direction: column; align-items: center; gap: 6px; padding: 26px 20px 30px;
  color: var(--soft);
  text-align: center; }
.empty .q-icon { font-size: 26px; color: var(--faint); }
.empty > div { max-width: 520px; overflow-wrap: anywhere; }
.content > .notice { background: var(--warn-soft); border-radius: 8px; padding: 9px 14px; }
.notice { padding: 4px 14px 14px; color: var(--warn); overflow-wrap: anywhere; }
.words { color: var(--soft); overflow-wrap: anywhere; }
.notice.alarm { color: var(--bad); background: var(--bad-soft); margin: 2px 14px 12px; padding: 9px 12px;
  border-radius: 8px; }
.ask { font-weight: 600; overflow-wrap: anywhere; }
.call { display: flex; align-items: center; gap: 10px; padding: 9px 14px; border-radius: 8px;
  background: var(--warn-soft); color: var(--warn); font-weight: 600; }
.call .q-icon { font-size: 20px; }

/* badges, meters, chips */
.count { display: grid; grid-template-columns: 104px minmax(40px, 1fr) minmax(40px, max-content); gap: 12px;
  padding: 4px 0; align-items: center; }
.count .number { text-align: right; font-variant-numeric: tabular-nums; }
.fill.even { background: var(--faint); }
.badge { display: inline-block; padding: 1px 8px; border-radius: 999px; font-size: 12px; font-weight: 600;
  line-height: 18px;
  white-space: nowrap; width: fit-content; }
.badge.good { color: var(--good); background: var(--good-soft); } .badge.busy { color: var(--busy);
  background: var(--busy-soft); }
.badge.wait { color: var(--wait); background: var(--wait-soft); } .badge.warn { color: var(--warn);
  background: var(--warn-soft); }
.badge.bad { color: var(--bad); background: var(--bad-soft); } .badge.off { color: var(--off);
  background: var(--off-soft); }
.chips { display: flex; flex-wrap: wrap; gap: 6px; padding: 2px 14px 14px; }
.chip { border: 1px solid var(--line); border-radius: 6px; padding: 1px 8px; overflow-wrap: anywhere;
  max-width: 100%; }
.meter { display: inline-flex; align-items: center; gap: 8px; min-width: 120px; width: 100%; }
.track { flex: 1 1 60px; min-width: 48px; height: 6px; border-radius: 3px; background: var(--wait-soft);
  overflow: hidden; }
.fill { display: block; height: 100%; border-radius: 3px; transition: width 0.3s; }
.fill.good { background: #22a565; } .fill.busy { background: #3b82f6; } .fill.bad { background: #e0493f; }
.fill.off { background: var(--faint); }
.share { font-size: 12px; color: var(--soft); font-variant-numeric: tabular-nums; white-space: nowrap; }

/* tables */
.table.q-table__container { background: transparent; color: inherit; box-shadow: none; width: 100%; }
.table .q-table th { color: var(--soft); font-weight: 550; font-size: 12px; padding: 4px 10px;
  border-color: var(--line); }
.table .q-table td { padding: 6px 10px; height: auto; border-color: var(--line); font-size: 13.5px;
  vertical-align: top; }
.table .q-table td:first-child, .table .q-table th:first-child { padding-left: 14px; }
.table .q-table td:last-child, .table .q-table th:last-child { padding-right: 14px; }
.table .q-table tbody tr:hover { background: var(--hover); }
.table .q-table td { max-width: 220px; overflow: hidden; text-overflow: ellipsis;
  font-variant-numeric: tabular-nums; }
.table .q-table td.long { white-space: normal; min-width: 180px; max-width: 460px; overflow-wrap: anywhere; }
.table .note { color: var(--soft); font-size: 12px; overflow: hidden; text-overflow: ellipsis; }
.table td.long .note { white-space: normal; }
.pager { display: flex; align-items: center; justify-content: flex-end; gap: 4px; padding: 4px 10px;
  color: var(--soft);
  border-top: 1px solid var(--line); font-size: 13px; }
.filters { display: flex; gap: 10px; flex-wrap: wrap; align-items: center; padding: 10px 14px; }
.filters .q-field { min-width: 150px; }
.filters .grow { min-width: 200px; max-width: 420px; }
.chart { width: 100%; }
.tabs { border-bottom: 1px solid var(--line); padding: 0 6px; color: var(--soft); }
.panels.q-tab-panels { background: transparent; color: inherit; }
.panels .q-tab-panel { padding: 4px 0 0; gap: 0; align-items: stretch; }

/* machines that wait for approval, commands */
.box.pending { border-color: var(--warn); }
.pending .lines { display: flex; flex-direction: column; }
.pending .line { display: grid; grid-template-columns: 40px minmax(0, 1fr) max-content; gap: 6px 10px;
  align-items: center; padding: 8px 14px 8px 8px; border-top: 1px solid var(--line); }
.pending .host { font-weight: 600; overflow-wrap: anywhere; }
.pending .note, .answers .note { color: var(--soft); font-size: 12.5px; overflow-wrap: anywhere; }
.pending .likeness { display: flex; flex-wrap: wrap; gap: 0 6px; align-items: baseline; color: var(--warn); }
.pending .more { padding: 8px 14px; border-top: 1px solid var(--line); }
.answers { display: flex; flex-direction: column; gap: 8px; padding: 4px 14px 14px; }
.answers .answer { display: grid; grid-template-columns: minmax(92px, max-content) max-content minmax(0, 1fr);
  gap: 4px 12px; align-items: baseline; }
.filtered { display: flex; align-items: center; gap: 10px; flex-wrap: wrap; padding: 0 14px 10px; color: var(--soft);
  overflow-wrap: anywhere; }

.badges { display: flex; flex-wrap: wrap; gap: 4px; max-width: 260px; }
.badge.tag { background: transparent; border: 1px solid var(--line); color: var(--ink); font-weight: 500;
  border-radius: 6px; max-width: 160px; overflow: hidden; text-overflow: ellipsis; }
a.chip { color: var(--accent); }
.row-actions .q-btn { min-height: 0; padding: 0 5px; }
.row-actions { display: inline-flex; gap: 2px; flex-wrap: nowrap; }

/* selectors */
.selector-box { position: relative; width: 100%; min-width: 0; }
.selector-box .caption { color: var(--soft); font-size: 12px; padding: 0 2px 2px; }
.selector-box .frame { display: flex; align-items: flex-start; gap: 8px; border: 1px solid var(--edge);
  border-radius: 6px; padding: 8px 10px; background: var(--box); cursor: text; }
.selector-box .frame:focus-within { border-color: var(--accent); box-shadow: 0 0 0 1px var(--accent); }
.selector-box .frame.wrong { border-color: var(--bad); box-shadow: 0 0 0 1px var(--bad); }
.selector-box .sign { color: var(--soft); font-size: 19px; margin-top: 1px; }
.selector-box textarea { flex: 1 1 auto; min-width: 0; border: 0; outline: 0; resize: none; padding: 1px 0;
  background: transparent; color: var(--ink); line-height: 20px; height: 22px; overflow-y: auto; font-size: 13px;
  font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.selector-box textarea::placeholder { color: var(--soft); opacity: 0.85; }
.selector-box .clear { border: 0; background: transparent; color: var(--soft); cursor: pointer; padding: 1px;
  border-radius: 4px; font-size: 16px; line-height: 1; }
.selector-box .clear:hover { color: var(--ink); }
.selector-box .offers { position: absolute; z-index: 20; left: 0; right: 0; top: 100%; max-height: 272px;
  overflow-y: auto; background: var(--box); border: 1px solid var(--line); border-radius: 8px;
  box-shadow: 0 8px 24px rgba(0, 0, 0, 0.18); padding: 4px; }
.selector-box .offer { display: flex; gap: 14px; align-items: baseline; padding: 4px 8px; border-radius: 5px;
  cursor: pointer; }
.selector-box .offer .mono { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.selector-box .offer .meaning { color: var(--soft); font-size: 12.5px; margin-left: auto; text-align: right; }
.selector-box .offer:hover { background: var(--hover); }
.selector-box .offer.active { background: var(--accent-soft); color: var(--accent); }
.selector-box .told { color: var(--soft); font-size: 12.5px; min-height: 19px; padding: 3px 2px 0;
  overflow-wrap: anywhere; }
.selector-box .excerpt { overflow-x: auto; color: var(--ink); line-height: 1.25; padding: 3px 0 2px; }
.selector-box .excerpt div { white-space: pre; } .selector-box .caret { color: var(--bad); font-weight: 700; }
.selector-box .problem { color: var(--bad); }
.selector-box .suggestion { border: 1px solid var(--accent); background: transparent; color: var(--accent);
  border-radius: 5px; margin-left: 8px; padding: 0 7px; cursor: pointer; font-size: 12.5px; max-width: 100%;
  font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
.selector-box .suggestion:hover { background: var(--accent-soft); }
.search { padding: 12px 14px 0; display: flex; flex-direction: column; gap: 4px; }
.examples { display: flex; flex-wrap: wrap; gap: 4px 6px; align-items: center; }
.q-btn.example { border: 1px solid var(--line); color: var(--soft); font-size: 12px; padding: 0 8px; }
.bulk { display: flex; flex-wrap: wrap; gap: 8px 10px; align-items: center; padding: 0 14px 10px; }
.bulk .found { font-weight: 600; font-variant-numeric: tabular-nums; }
.bulk .export { padding: 0 4px; }
.form .preview { background: var(--ground); border: 1px solid var(--line); border-radius: 8px; padding: 9px 12px; }

/* fleet map */
.fleet-map { list-style: none; margin: 0; padding: 2px 14px 8px; display: flex; flex-wrap: wrap; gap: 8px; }
.fleet-map li { min-width: 0; max-width: 100%; display: flex; }
.tile { display: flex; flex-direction: column; gap: 5px; width: 100%; min-width: 0; color: var(--ink);
  border: 1px solid var(--line); border-radius: 8px; padding: 8px 10px; box-sizing: border-box; }
.tile:hover { border-color: var(--accent); text-decoration: none; background: var(--hover); }
.tile-head { display: flex; gap: 8px; align-items: baseline; }
.tile-name { font-weight: 600; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; min-width: 0; }
.tile-total { margin-left: auto; font-variant-numeric: tabular-nums; }
.tile-told { color: var(--soft); font-size: 12px; }
.bar { display: flex; height: 12px; border-radius: 3px; overflow: hidden; background: var(--wait-soft); gap: 1px; }
.piece { flex: 0 0 0; min-width: 3px; }
.piece.healthy { background: #22a565; }
.piece.alerting { background: #d33a30; background-image: repeating-linear-gradient(45deg, transparent 0 3px,
  rgba(255, 255, 255, 0.55) 3px 5px); }
.piece.flapping { background: #e09b1b; background-image: repeating-linear-gradient(90deg, transparent 0 2px,
  rgba(0, 0, 0, 0.45) 2px 4px); }
.piece.offline { background: #8a93a3; background-size: 5px 5px;
  background-image: radial-gradient(rgba(255, 255, 255, 0.75) 1px, transparent 1.4px); }
.piece.suspended { background: #4a5260; background-image: repeating-linear-gradient(0deg, transparent 0 2px,
  rgba(255, 255, 255, 0.35) 2px 3px); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; padding: 0 14px 12px; color: var(--soft); font-size: 12px; }
.legend > span { display: inline-flex; align-items: center; gap: 6px; }
.legend .piece { width: 18px; height: 10px; border-radius: 2px; flex: 0 0 auto; }

/* charts of telemetry, timeline, facts */
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: 6px 14px;
  padding: 0 10px 10px; }
.charts:empty { display: none; }
.charted { margin: 0; min-width: 0; }
.charted figcaption { color: var(--soft); font-size: 12.5px; font-weight: 550; padding: 0 4px; }
.timeline { list-style: none; margin: 0; padding: 0 14px 4px; }
.timeline li { display: grid; grid-template-columns: 26px 176px minmax(0, 1fr) minmax(0, max-content); gap: 4px 10px;
  align-items: baseline; padding: 5px 0; position: relative; }
.timeline li::before { content: ""; position: absolute; left: 9px; top: 0; bottom: 0; width: 1px;
  background: var(--line); }
.timeline .mark { position: relative; font-size: 15px; width: 19px; height: 19px; border-radius: 50%;
  background: var(--wait-soft); color: var(--wait); align-self: start; margin-top: 1px; }
.timeline .good .mark { background: var(--good-soft); color: var(--good); }
.timeline .busy .mark { background: var(--busy-soft); color: var(--busy); }
.timeline .warn .mark { background: var(--warn-soft); color: var(--warn); }
.timeline .bad .mark { background: var(--bad-soft); color: var(--bad); }
.timeline time { color: var(--soft); font-size: 12.5px; font-variant-numeric: tabular-nums; }
.timeline .said { overflow-wrap: anywhere; }
.timeline .name { color: var(--faint); overflow: hidden; text-overflow: ellipsis; }
.more-row { padding: 2px 14px 12px; }
.fact-group { padding-bottom: 2px; }
.fact-title { color: var(--soft); font-size: 11.5px; font-weight: 600; letter-spacing: 0.04em; padding: 2px 14px 3px;
  text-transform: uppercase; }
.box-head .actions .q-field { min-width: 130px; }

/* pages of a model */
.sub-pages { display: flex; flex-wrap: wrap; gap: 2px 4px; border-bottom: 1px solid var(--line); }
.sub-pages a { padding: 6px 12px; color: var(--soft); border-bottom: 2px solid transparent; margin-bottom: -1px; }
.sub-pages a:hover { color: var(--ink); text-decoration: none; }
.sub-pages a.here { color: var(--accent); border-color: var(--accent); font-weight: 600; }
.scrolled { overflow-x: auto; padding: 0 6px 8px; }
.board { border-top: 1px solid var(--line); }
.board .q-item { min-height: 40px; padding: 6px 14px; } .board .q-item__label--caption { color: var(--soft); }
.as-table .q-expansion-item__container > .q-item { min-height: 36px; color: var(--soft); padding: 4px 14px; }
.as-table .nicegui-expansion-content { align-items: stretch; padding: 4px 0 8px; gap: 10px; }
.ask-row { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 148px), 1fr)); gap: 10px;
  align-items: center; padding: 10px 14px 14px; }
.ask-row .side-by-side { display: grid; grid-template-columns: 1fr 1fr; gap: 10px; grid-column: span 2; }
.ask-row .notice { padding: 0; grid-column: 1 / -1; }
.job-log { height: 300px;
  padding: 4px 14px 14px; font-size: 12.5px; white-space: pre-wrap; overflow-wrap: anywhere;
  font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.job-log .line { white-space: pre-wrap; overflow-wrap: anywhere; }
.job-log .warning { color: var(--warn); } .job-log .error { color: var(--bad); }

/* files, choices */
.files { display: flex; flex-direction: column; gap: 10px; }
.file-field { display: flex; flex-direction: column; gap: 4px; min-width: 0; }
.file-field .caption, .field-title { color: var(--soft); font-size: 12.5px; }
.file-field input { font: inherit; color: var(--ink); max-width: 100%; border: 1px solid var(--edge);
  border-radius: 6px; padding: 6px 8px; box-sizing: border-box; background: var(--box); }
.file-field progress { width: 100%; height: 8px; accent-color: var(--accent); }
.file-field .said { color: var(--soft); font-size: 12.5px; overflow-wrap: anywhere; }
.file-field .said.refusal { color: var(--bad); } .file-field .said:empty { display: none; }
.boxes { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 150px), 1fr)); gap: 4px 12px;
  padding-top: 4px; }
.pairs { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 210px), 1fr)); gap: 10px;
  padding-top: 6px; }
.boxes.tall { grid-template-columns: 1fr; }

/* waves */
.waves { display: flex; flex-direction: column; gap: 10px; padding: 4px 14px 14px; }
.wave { display: grid; grid-template-columns: 76px 92px minmax(60px, 1fr) minmax(0, max-content); gap: 6px 12px;
  align-items: center; }
.wave .counts { color: var(--soft); font-size: 12.5px; }
.wave .track { height: 8px; border-radius: 4px; display: flex; }
.wave .fill { border-radius: 0; }

/* forms and login */
.form.q-card { background: var(--box); color: var(--ink); width: 560px; max-width: 94vw; border-radius: 12px;
  padding: 18px 20px;
  gap: 10px; align-items: stretch; }
.form.wide.q-card { width: 860px; }
.form .form-title { font-size: 17px; font-weight: 650; }
.form .refusal { color: var(--bad); overflow-wrap: anywhere; }
.form .side-by-side { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 10px; }
.form .buttons { display: flex; justify-content: flex-end; gap: 8px; margin-top: 4px; }
.code { background: var(--ground); border: 1px solid var(--line); border-radius: 8px; padding: 10px 12px;
  white-space: pre-wrap;
  overflow-wrap: anywhere; }
.login { min-height: 100vh; display: flex; align-items: center; justify-content: center; padding: 20px;
  box-sizing: border-box; }
.login form { width: 340px; max-width: 100%; background: var(--box); border: 1px solid var(--line);
  border-radius: 14px;
  padding: 26px 26px 22px; display: flex; flex-direction: column; gap: 12px; box-sizing: border-box; }
.login .brand { font-size: 20px; margin-bottom: 2px; }
.login .where { color: var(--faint); font-size: 12.5px; overflow-wrap: anywhere; text-align: center; }
.login .refusal { color: var(--bad); } .login .told { color: var(--soft); }

@media (max-width: 900px) { .menu-button { display: inline-flex; } .page { padding: 14px 12px 40px; } }
@media (max-width: 560px) {
  .wave { grid-template-columns: 64px 1fr; } .wave .track { grid-column: 1 / -1; }
  .wave .counts { grid-column: 1 / -1; }
  .facts { grid-template-columns: minmax(84px, max-content) minmax(0, 1fr); gap: 5px 12px; }
  .pending .line { grid-template-columns: 40px minmax(0, 1fr); } .pending .line .actions { grid-column: 2; }
  .answers .answer { grid-template-columns: minmax(92px, max-content) minmax(0, 1fr); }
  .answers .answer .note { grid-column: 1 / -1; }
  .timeline li { grid-template-columns: 26px minmax(0, 1fr); } .timeline .said, .timeline .name { grid-column: 2; }
  .tile { padding: 7px 9px; }
  .selector-box .offer { flex-direction: column; gap: 0; }
  .selector-box .offer .meaning { margin: 0; text-align: left; }
  .title { font-size: 18px; } .figure .value { font-size: 21px; }
}
"""
HEAD: Final = f"<style>{_STYLE}</style>"
