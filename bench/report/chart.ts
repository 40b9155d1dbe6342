import { type Chart, formatNumber } from './report.ts';

const WIDTH = 760;
/** Of a character of a label, on average, with room for wide ones. */
const CHARACTER_WIDTH = 7.2;
const VALUE_WIDTH = 90;
const BAR_HEIGHT = 18;
const BAR_GAP = 5;
const GROUP_GAP = 20;
const TOP = 44;
/** Told apart by people who don't tell red from green, and on light and dark pages (Okabe and Ito's palette). */
const COLOURS = ['#0072B2', '#E69F00', '#009E73', '#CC79A7', '#56B4E9', '#D55E00', '#999999'];

/**
 * Draws a chart as an SVG document: horizontal bars in labelled groups, each group on a scale of its own, the value written
 * at each bar's end, the same side in the same colour in every group.
 */
export function toSvg({ title, unit, groups }: Chart): string {
  const labels = [...new Set(groups.flatMap(({ bars }) => bars.map(({ label }) => label)))];
  const labelWidth = Math.max(0, ...labels.map(({ length }) => length)) * CHARACTER_WIDTH + 8;
  const shapes: string[] = [];
  let y = TOP;
  for (const { label, bars } of groups) {
    shapes.push(text(0, y + 13, label, 'font-weight="bold"'));
    y += 22;
    const longest = Math.max(...bars.map(({ value }) => value), Number.MIN_VALUE);
    const scale = (WIDTH - labelWidth - VALUE_WIDTH) / longest;
    for (const bar of bars) {
      const width = Math.max(1, bar.value * scale);
      const colour = COLOURS[labels.indexOf(bar.label) % COLOURS.length];
      shapes.push(
        text(labelWidth - 8, y + 13, bar.label, 'text-anchor="end"'),
        `<rect x="${labelWidth}" y="${y}" width="${width.toFixed(1)}" height="${BAR_HEIGHT}" fill="${colour}"/>`,
        text(labelWidth + width + 6, y + 13, `${formatNumber(bar.value)} ${unit}`),
      );
      y += BAR_HEIGHT + BAR_GAP;
    }
    y += GROUP_GAP;
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y}" width="${WIDTH}" height="${y}" role="img" aria-label="${escapeXml(title)}">
<style>svg { background: #fff } text { font: 13px system-ui, sans-serif; fill: #222 }</style>
${text(0, 20, title, 'font-weight="bold" font-size="15"')}
${shapes.join('\n')}
</svg>
`;
}

function text(x: number, y: number, content: string, attributes = ''): string {
  return `<text x="${x.toFixed(1)}" y="${y}" ${attributes}>${escapeXml(content)}</text>`;
}

function escapeXml(content: string): string {
  return content.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}
