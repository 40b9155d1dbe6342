import type { Watcher } from '../watcher.ts';

export interface WindowOptions {
  /** Characters that are collected before they are checked. */
  readonly windowCharacters: number;
  /** Characters of a window that the next one contains again. */
  readonly overlapCharacters: number;
  /**
   * Checks a window.
   * @returns whether it may be sent
   * @throws LambentError if it can't be checked
   */
  readonly check: (text: string) => Promise<boolean>;
}

/**
 * Creates a watcher that checks a text in windows. The end of a window that the next one contains again is held back with it,
 * so that each character has been checked together with the characters around it.
 */
export function createGuardrailWatcher({ windowCharacters, overlapCharacters, check }: WindowOptions): Watcher {
  /** The end of the text: at least what is held back. */
  let tail = '';
  let length = 0;
  let checked = 0;
  let heldFrom = 0;
  let isRefused = false;

  async function checkTail(): Promise<void> {
    if (isRefused || checked === length) return;
    isRefused = !(await check(tail));
    checked = length;
    tail = overlapCharacters === 0 ? '' : tail.slice(-overlapCharacters);
  }

  return {
    async push(text) {
      tail += text;
      length += text.length;
      if (length - checked < windowCharacters) return;
      await checkTail();
      heldFrom = Math.max(heldFrom, length - overlapCharacters);
    },
    async end() {
      await checkTail();
      heldFrom = length;
    },
    get heldFrom() {
      return heldFrom;
    },
    get isRefused() {
      return isRefused;
    },
  };
}
