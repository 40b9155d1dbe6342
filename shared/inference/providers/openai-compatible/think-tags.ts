/** A piece of an answer's content: reasoning or text. */
export interface ContentPiece {
  readonly type: 'reasoning' | 'text';
  readonly text: string;
}

const OPEN = '<think>';
const CLOSE = '</think>';

/**
 * Splits content whose first characters are `<think>` into reasoning and text: MiniMax's API and engines without a
 * reasoning parser send both in one. The tag counts only at the beginning of an answer, so that a text about it stays
 * text. Content may be split anywhere.
 */
export class ThinkTagSplitter {
  #state: 'begin' | 'thinking' | 'gap' | 'text' = 'begin';
  /** What may become a tag, or whitespace around one. */
  #held = '';

  /** True between the tags. */
  get isThinking(): boolean {
    return this.#state === 'thinking';
  }

  /** Takes all further content as text: the upstream separates reasoning from it. */
  stop(): void {
    if (this.#state === 'begin') this.#state = 'text';
  }

  push(content: string): ContentPiece[] {
    const all = this.#held + content;
    this.#held = '';
    switch (this.#state) {
      case 'begin':
        return this.#begin(all);
      case 'thinking':
        return this.#think(all);
      case 'gap':
        return this.#leaveGap(all);
      case 'text':
        return toPieces('text', all);
    }
  }

  /** Returns what was held back at the end of the answer. */
  flush(): ContentPiece[] {
    const held = this.#held;
    this.#held = '';
    if (this.#state === 'gap') return [];
    return toPieces(this.#state === 'thinking' ? 'reasoning' : 'text', held);
  }

  #begin(all: string): ContentPiece[] {
    const start = all.trimStart();
    if (start.startsWith(OPEN)) {
      this.#state = 'thinking';
      return this.#think(start.slice(OPEN.length));
    }
    if (OPEN.startsWith(start)) {
      this.#held = all;
      return [];
    }
    this.#state = 'text';
    return toPieces('text', all);
  }

  #think(all: string): ContentPiece[] {
    const end = all.indexOf(CLOSE);
    if (end >= 0) {
      this.#state = 'gap';
      return [...toPieces('reasoning', all.slice(0, end)), ...this.#leaveGap(all.slice(end + CLOSE.length))];
    }
    let tag = Math.min(CLOSE.length - 1, all.length);
    while (!all.endsWith(CLOSE.slice(0, tag))) tag -= 1;
    this.#held = all.slice(all.length - tag);
    return toPieces('reasoning', all.slice(0, all.length - tag));
  }

  /** Drops the line breaks between the closing tag and the text. */
  #leaveGap(all: string): ContentPiece[] {
    const text = all.trimStart();
    if (text === '') return [];
    this.#state = 'text';
    return toPieces('text', text);
  }
}

/** Returns the text of a turn as the upstream that sends `<think>` wants it back. */
export function joinThinking(reasoning: string, text: string): string {
  return reasoning === '' ? text : `${OPEN}${reasoning}${CLOSE}\n\n${text}`;
}

function toPieces(type: ContentPiece['type'], text: string): ContentPiece[] {
  return text === '' ? [] : [{ type, text }];
}
