import { type Item, marshall } from '../aws/attributes.ts';
import type { indexAttributes } from './index-entry.ts';
import type { Condition, Guard, JobChange } from './ports.ts';

type IndexAttributes = ReturnType<typeof indexAttributes>;

/** Guards and changes in DynamoDB's language. Every name goes by a placeholder, since many are reserved words. */
export class Expression {
  readonly #names: Record<string, string> = {};
  readonly #values: Item = {};

  /** @param now epoch seconds: neither a deleted nor an expired job meets any guard */
  guard(guard: Guard, now: number): string {
    const visible = `attribute_exists(pk) AND attribute_not_exists(deletedAt) AND expiresAt > ${this.#value(now)}`;
    return [visible, ...guard.map((condition) => this.#condition(condition))].join(' AND ');
  }

  /** @param index the two attributes of the new index entry, `none` to remove them, or undefined to leave them */
  change({ set = {}, remove = [], add = {} }: JobChange, index?: IndexAttributes | 'none'): string {
    const placed = index === 'none' ? {} : index;
    const sets = present({ ...set, ...placed }).map(([field, value]) => `${this.#name(field)} = ${this.#value(value)}`);
    const adds = present(add).map(([field, value]) => `${this.#name(field)} ${this.#value(value)}`);
    const unplaced = index === 'none' ? ['duePartition', 'dueAt'] : [];
    const removes = [...remove, ...unplaced].map((field) => this.#name(field));
    return [clause('SET', sets), clause('REMOVE', removes), clause('ADD', adds)].join(' ').trim();
  }

  /** The names and values that stand behind the placeholders used so far. */
  placeholders() {
    return { names: this.#names, values: this.#values };
  }

  #condition(condition: Condition): string {
    const name = this.#name(condition.field);
    switch (condition.is) {
      case 'equal':
        return `${name} = ${this.#value(condition.value)}`;
      case 'oneOf':
        return `${name} IN (${condition.values.map((value) => this.#value(value)).join(', ')})`;
      case 'absent':
        return `attribute_not_exists(${name})`;
      case 'absentOrAtMost':
        return `(attribute_not_exists(${name}) OR ${name} <= ${this.#value(condition.value)})`;
      case 'above':
        return `${name} > ${this.#value(condition.value)}`;
    }
  }

  #name(field: string): string {
    this.#names[`#${field}`] = field;
    return `#${field}`;
  }

  #value(value: unknown): string {
    const placeholder = `:v${Object.keys(this.#values).length}`;
    Object.assign(this.#values, marshall({ [placeholder]: value }));
    return placeholder;
  }
}

function present(fields: object): [string, unknown][] {
  return Object.entries(fields).filter(([, value]) => value !== undefined);
}

function clause(keyword: string, parts: readonly string[]): string {
  return parts.length === 0 ? '' : `${keyword} ${parts.join(', ')}`;
}
