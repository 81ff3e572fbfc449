// The chart of temperatures, and cameras whose stream breaks off.
"use strict";

const holder = document.getElementById("chart");
let chart = null;

async function drawChart() {
  if (!holder || document.hidden) return;
  const answer = await fetch(holder.dataset.chart, { headers: { Accept: "application/json" } }).catch(() => null);
  if (!answer?.ok) return;
  const { times, series } = await answer.json();
  document.getElementById("chart-empty").hidden = times.length > 0;
  holder.hidden = times.length === 0;
  if (times.length === 0) return;
  const data = [times, ...series.map((one) => one.actual)];
  const names = series.map((one) => one.name).join();
  if (chart && chart.names === names) {
    chart.setData(data);
    return;
  }
  chart?.destroy();
  holder.replaceChildren();
  const style = getComputedStyle(document.body);
  const colours = ["--accent", "--second", "--third", "--muted"].map((name) => style.getPropertyValue(name).trim() || "gray");
  const ink = style.getPropertyValue("--muted").trim();
  const grid = { stroke: style.getPropertyValue("--line").trim() };
  chart = new uPlot({
    width: holder.clientWidth,
    height: 220,
    scales: { x: { range: () => { const now = Date.now() / 1000; return [now - 1800, now]; } } },
    series: [{}, ...series.map((one, index) => ({
      label: one.name, stroke: colours[index % colours.length], width: 2, value: (_, value) => value == null ? "–" : `${value.toFixed(0)} °C`,
    }))],
    axes: [{ stroke: ink, grid }, { stroke: ink, grid, values: (_, values) => values.map((value) => `${value} °C`), size: 60 }],
  }, data, holder);
  chart.names = names;
}
drawChart();
setInterval(drawChart, 5000);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { chart?.destroy(); chart = null; drawChart(); });
window.addEventListener("resize", () => chart?.setSize({ width: holder.clientWidth, height: 220 }));

// A stream that breaks off (its time is up, the printer was away) is opened again, without hurry.
const waits = new WeakMap();
document.addEventListener("load", (event) => {
  if (event.target.matches?.("img[data-stream]")) waits.delete(event.target);
}, true);
document.addEventListener("error", (event) => {
  const image = event.target;
  if (!image.matches?.("img[data-stream]")) return;
  const wait = waits.get(image) ?? 2000;
  waits.set(image, Math.min(wait * 2, 30000));
  setTimeout(() => { if (image.isConnected) image.src = `${image.dataset.stream}?at=${Date.now()}`; }, wait);
}, true);
