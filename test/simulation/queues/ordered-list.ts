/**
 * A list sorted by `order`, which must be unique. Adding at the end and removing near the beginning take little time,
 * however long the list is, because both move only the items on the shorter side.
 */
export class OrderedList<T extends { readonly order: number }> {
  /** Items before `#head` are unused. */
  #items: (T | undefined)[] = [];
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  at(index: number): T | undefined {
    return this.#items[this.#head + index];
  }

  add(item: T): void {
    const index = this.#indexOf(item);
    const items = this.#items;
    if (this.#head > 0 && index - this.#head < items.length - index) {
      items.copyWithin(this.#head - 1, this.#head, index);
      this.#head -= 1;
      items[index - 1] = item;
    } else if (index === items.length) items.push(item);
    else items.splice(index, 0, item);
  }

  /** Removes an item, which must be in the list. */
  remove(item: T): void {
    const index = this.#indexOf(item);
    const items = this.#items;
    if (index - this.#head < items.length - index) {
      items.copyWithin(this.#head + 1, this.#head, index);
      items[this.#head] = undefined;
      this.#head += 1;
      if (this.#head > items.length / 2) {
        items.splice(0, this.#head);
        this.#head = 0;
      }
    } else items.splice(index, 1);
  }

  /** Returns the position in `#items` of the first item that is not before `item`. */
  #indexOf({ order }: T): number {
    let low = this.#head;
    let high = this.#items.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const at = this.#items[middle];
      if (at !== undefined && at.order < order) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
