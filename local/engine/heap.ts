/** An element of a heap. It records its own position, so that any element can be removed. */
export interface HeapElement {
  /** Written only by the heap that contains the element; -1 outside of a heap. */
  heapIndex: number;
}

/** A binary heap: `first` is O(1), all other operations are O(log n). The order of equal elements is undefined. */
export class Heap<Element extends HeapElement> {
  readonly #elements: Element[] = [];
  readonly #before: (a: Element, b: Element) => boolean;

  /** @param before returns true if `a` comes before `b` */
  constructor(before: (a: Element, b: Element) => boolean) {
    this.#before = before;
  }

  get size(): number {
    return this.#elements.length;
  }

  get first(): Element | undefined {
    return this.#elements[0];
  }

  /** Returns all elements, in undefined order. */
  values(): Iterable<Element> {
    return this.#elements;
  }

  push(element: Element): void {
    this.#rise(element, this.#elements.length);
  }

  /** Removes an element. It must be in this heap. */
  remove(element: Element): void {
    const hole = element.heapIndex;
    const last = this.#elements.pop();
    element.heapIndex = -1;
    if (last === undefined || last === element) return;
    this.#rise(last, hole);
    this.#sink(last, last.heapIndex);
  }

  #rise(element: Element, from: number): void {
    let index = from;
    while (index > 0) {
      const parentIndex = (index - 1) >> 1;
      const parent = this.#elements[parentIndex];
      if (parent === undefined || !this.#before(element, parent)) break;
      this.#place(parent, index);
      index = parentIndex;
    }
    this.#place(element, index);
  }

  #sink(element: Element, from: number): void {
    let index = from;
    for (;;) {
      const left = 2 * index + 1;
      const [a, b] = [this.#elements[left], this.#elements[left + 1]];
      const child = a !== undefined && b !== undefined && this.#before(b, a) ? b : a;
      if (child === undefined || !this.#before(child, element)) break;
      const childIndex = child.heapIndex;
      this.#place(child, index);
      index = childIndex;
    }
    this.#place(element, index);
  }

  #place(element: Element, index: number): void {
    this.#elements[index] = element;
    element.heapIndex = index;
  }
}
