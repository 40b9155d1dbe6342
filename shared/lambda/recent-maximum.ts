/** The largest of the latest values: of at least `size` of them, and of fewer than twice as many. */
export class RecentMaximum {
  readonly #size: number;
  /** Of the latest `size` values that were complete, and of those since. */
  #before = 0;
  #latest = 0;
  #count = 0;

  constructor(size: number) {
    this.#size = size;
  }

  /** 0 before the first value. */
  get maximum(): number {
    return Math.max(this.#before, this.#latest);
  }

  add(value: number): void {
    this.#latest = Math.max(this.#latest, value);
    this.#count += 1;
    if (this.#count < this.#size) return;
    this.#before = this.#latest;
    this.#latest = 0;
    this.#count = 0;
  }
}
