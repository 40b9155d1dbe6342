/** Width of every picture, in pixels; pages scale it. */
export const WIDTH = 760;
/** Distinguishable with red-green blindness and on light and dark pages (Okabe and Ito's palette). */
export const COLOURS = ['#0072B2', '#E69F00', '#009E73', '#CC79A7', '#56B4E9', '#D55E00', '#999999'];

/** Returns an SVG document with its title at the top. */
export function renderDocument(title: string, height: number, shapes: readonly string[]): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="${escapeXml(title)}">
<style>svg { background: #fff; font: 13px system-ui, sans-serif; fill: #222 }</style>
${renderText(0, 20, title, 'font-weight="bold" font-size="15"')}
${shapes.join('\n')}
</svg>
`;
}

/** Returns a text element. `attributes` are inserted into its tag unescaped. */
export function renderText(x: number, y: number, content: string, attributes = ''): string {
  return `<text x="${x.toFixed(1)}" y="${y}" ${attributes}>${escapeXml(content)}</text>`;
}

function escapeXml(content: string): string {
  return content.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}
