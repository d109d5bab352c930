"""How everything looks: one style sheet, in the browser's light or dark colours."""

from typing import Final

_STYLE: Final = """
:root {
  --ground: #f5f6f8; --box: #ffffff; --line: #e2e5ea; --ink: #1b2330; --soft: #5c6675; --faint: #9aa3b0;
  --accent: #0f6f80; --accent-soft: #e3f1f3; --hover: #f3f5f8; --top: #ffffff;
  --good: #157347; --good-soft: #dcf3e6; --busy: #1d5fbf; --busy-soft: #dfeafb; --wait: #5c6675; --wait-soft: #e9ecf0;
  --warn: #8a5a00; --warn-soft: #fbecc9; --bad: #b3261e; --bad-soft: #fbe0dd; --off: #6b7482; --off-soft: #eceef1;
  --nicegui-default-gap: 0.75rem;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #12161d; --box: #1a2029; --line: #2b333f; --ink: #e4e8ee; --soft: #a5aebb; --faint: #6f7a89;
    --accent: #58c4d4; --accent-soft: #17343b; --hover: #212936; --top: #1a2029;
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
  .title { font-size: 18px; } .figure .value { font-size: 21px; }
}
"""
HEAD: Final = f"<style>{_STYLE}</style>"
