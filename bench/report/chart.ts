import { type BarChart, type Chart, formatNumber, type LineChart } from './report.ts';
import { COLOURS, renderDocument, renderText, WIDTH } from './svg.ts';

/** Mean width of a label's character, with a margin for wide characters. */
const CHARACTER_WIDTH = 7.2;
const VALUE_WIDTH = 90;
const BAR_HEIGHT = 18;
const BAR_GAP = 5;
const GROUP_GAP = 20;
const TOP = 44;
/** Height of a line chart's plot area, and the margins for its numbers. */
const PLANE_HEIGHT = 240;
const LEFT = 56;
const RIGHT = 16;

/** Draws a chart as an SVG document. */
export function toSvg(chart: Chart): string {
  return 'series' in chart ? drawLines(chart) : drawBars(chart);
}

/**
 * Draws horizontal bars in labelled groups. Each group has its own scale, each bar ends with its value, and a label has
 * the same colour in every group.
 */
function drawBars({ title, unit, groups }: BarChart): string {
  const labels = [...new Set(groups.flatMap(({ bars }) => bars.map(({ label }) => label)))];
  const labelWidth = Math.max(0, ...labels.map(({ length }) => length)) * CHARACTER_WIDTH + 8;
  const shapes: string[] = [];
  let y = TOP;
  for (const { label, bars } of groups) {
    shapes.push(renderText(0, y + 13, label, 'font-weight="bold"'));
    y += 22;
    const longest = Math.max(...bars.map(({ value }) => value), Number.MIN_VALUE);
    const scale = (WIDTH - labelWidth - VALUE_WIDTH) / longest;
    for (const bar of bars) {
      const width = Math.max(1, bar.value * scale);
      const colour = COLOURS[labels.indexOf(bar.label) % COLOURS.length];
      shapes.push(
        renderText(labelWidth - 8, y + 13, bar.label, 'text-anchor="end"'),
        `<rect x="${labelWidth}" y="${y}" width="${width.toFixed(1)}" height="${BAR_HEIGHT}" fill="${colour}"/>`,
        renderText(labelWidth + width + 6, y + 13, `${formatNumber(bar.value)} ${unit}`),
      );
      y += BAR_HEIGHT + BAR_GAP;
    }
    y += GROUP_GAP;
  }
  return renderDocument(title, y, shapes);
}

/** Draws a line for each series, all on the same axes. */
function drawLines({ title, unit, xUnit = 's', series }: LineChart): string {
  const points = series.flatMap((each) => each.points);
  const largestX = Math.max(1, ...points.map(({ x }) => x));
  const heights = computeTicks(Math.max(1, ...points.map(({ value }) => value)));
  const highest = heights.at(-1) ?? 1;
  const toPixelX = (x: number) => LEFT + (x / largestX) * (WIDTH - LEFT - RIGHT);
  const toPixelY = (value: number) => TOP + PLANE_HEIGHT * (1 - value / highest);
  const shapes: string[] = [];
  for (const value of heights) {
    const height = toPixelY(value).toFixed(1);
    shapes.push(
      `<line x1="${LEFT}" y1="${height}" x2="${WIDTH - RIGHT}" y2="${height}" stroke="#ddd"/>`,
      renderText(LEFT - 6, toPixelY(value) + 4, formatNumber(value), 'text-anchor="end"'),
    );
  }
  for (const x of computeTicks(largestX).filter((tick) => tick <= largestX)) {
    shapes.push(
      renderText(toPixelX(x), TOP + PLANE_HEIGHT + 20, `${formatNumber(x)} ${xUnit}`, 'text-anchor="middle"'),
    );
  }
  series.forEach(({ label, points: line }, index) => {
    const colour = COLOURS[index % COLOURS.length];
    const path = line.map(({ x, value }) => `${toPixelX(x).toFixed(1)},${toPixelY(value).toFixed(1)}`).join(' ');
    const legend = TOP + PLANE_HEIGHT + 46 + index * 20;
    shapes.push(
      `<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"/>`,
      `<rect x="${LEFT}" y="${legend - 10}" width="12" height="12" fill="${colour}"/>`,
      renderText(LEFT + 20, legend, [label, unit].filter((part) => part !== '').join(', ')),
    );
  });
  return renderDocument(title, TOP + PLANE_HEIGHT + 46 + series.length * 20, shapes);
}

/**
 * Returns round numbers from 0 to the first that is not below `highest`: at most a dozen steps of 1, 2 or 5 times a
 * power of ten.
 */
function computeTicks(highest: number): number[] {
  const power = 10 ** Math.floor(Math.log10(highest / 5));
  const step = Math.max(1, power * ([1, 2, 5].findLast((factor) => factor * power * 5 <= highest) ?? 1));
  return Array.from({ length: Math.ceil(highest / step) + 1 }, (_, index) => index * step);
}
