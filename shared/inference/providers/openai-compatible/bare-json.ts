import { isJson } from '../../../core/is-json.ts';

/** A part of a stream's text: framed as server-sent events, or JSON without framing. */
export interface StreamPart {
  readonly type: 'framed' | 'json';
  readonly text: string;
}

const LINE_END = /\r\n|\r|\n/;
const BARE_LINE = /[\r\n][[{]/;

/**
 * Separates JSON without framing from a stream of server-sent events: some upstreams report an error so, or send a chunk
 * or a whole completion as a line without `data:`. Such JSON begins at the beginning of a line and may have several
 * lines. The text may be split anywhere.
 */
export class BareJsonSeparator {
  /** The lines of the JSON so far, the last one possibly incomplete; undefined outside of JSON. */
  #json: string | undefined;
  #lineStart = 0;
  #isAtLineStart = true;
  #isAtStart = true;

  /** Returns the parts of a piece of text, in order. JSON is returned when it is complete. */
  separate(text: string): StreamPart[] {
    const parts: StreamPart[] = [];
    let rest = this.#isAtStart ? text.replace(/^\uFEFF/, '') : text;
    if (text !== '') this.#isAtStart = false;
    while (rest !== '') rest = this.#json === undefined ? this.#readFramed(rest, parts) : this.#readJson(rest, parts);
    return parts;
  }

  /** Characters of JSON that is not complete. */
  get heldLength(): number {
    return this.#json?.length ?? 0;
  }

  #readFramed(text: string, parts: StreamPart[]): string {
    const startsHere = this.#isAtLineStart && /^[[{]/.test(text);
    const found = startsHere ? 0 : text.search(BARE_LINE) + 1;
    const end = startsHere || found > 0 ? found : text.length;
    if (end > 0) parts.push({ type: 'framed', text: text.slice(0, end) });
    this.#isAtLineStart = /[\r\n]$/.test(text.slice(end - 1, end)) || startsHere;
    if (startsHere || found > 0) {
      this.#json = '';
      this.#lineStart = 0;
    }
    return text.slice(end);
  }

  #readJson(text: string, parts: StreamPart[]): string {
    const found = LINE_END.exec(text);
    const line = found === null ? text : text.slice(0, found.index);
    this.#json = (this.#json ?? '') + line;
    if (found === null) return '';
    const lastLine = this.#json.slice(this.#lineStart);
    // JSON of several lines ends with a bracket at the beginning of its last line. A blank line ends what isn't JSON.
    const mayEnd = this.#lineStart === 0 || /^[}\]]/.test(lastLine);
    if (lastLine.trim() === '' || (mayEnd && isJson(this.#json))) {
      parts.push({ type: 'json', text: this.#json });
      this.#json = undefined;
      this.#isAtLineStart = true;
    } else {
      this.#json += '\n';
      this.#lineStart = this.#json.length;
    }
    return text.slice(found.index + found[0].length);
  }
}
