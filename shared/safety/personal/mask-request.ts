import type { KeyObject } from 'node:crypto';
import { PERSONAL_DATA_KINDS, type PersonalDataKind } from '../../access/personal-data.ts';
import { LambentError } from '../../core/errors.ts';
import { isJson } from '../../core/is-json.ts';
import type { GenerationRequest } from '../../inference/generation.ts';
import { type Detect, type Finding, mergeOverlaps, toLabel } from './detector.ts';
import { type FoundName, type LocatedName, locateNames, uniqueNames } from './locate-names.ts';
import { mapRequest, type RequestVisitor } from './map-request.ts';
import { listHashes, PlaceholderForm, Placeholders } from './placeholders.ts';
import { type AppliedRules, GUARDRAIL_KINDS } from './rules.ts';
import type { TextPlace, VisitText } from './visitor.ts';

/**
 * Finds names and addresses in texts, in which the values of other kinds are already replaced. Returns those of all texts
 * together. It throws if it can't search all of them.
 */
export type FindNames = (texts: readonly string[], kinds: readonly PersonalDataKind[]) => Promise<readonly FoundName[]>;

/** What masking depends on. */
export interface MaskingPorts {
  readonly detect: Detect;
  /** Returns the tenant's key for placeholders. Called only if there is something to mask. */
  readonly openKey: () => Promise<KeyObject>;
  readonly findNames?: FindNames | undefined;
  /** Called with how many values of each kind were found, by their label, before any is refused. */
  readonly onSearched?: (counts: ReadonlyMap<string, number>) => void;
}

/** A request without the values that its policy keeps from models. */
export interface MaskedRequest {
  readonly request: GenerationRequest;
  /** The values to restore in the answer, by their placeholders. */
  readonly values: ReadonlyMap<string, string>;
}

/**
 * Replaces personal data in everything of a request that a model gets.
 * @throws LambentError `content_filter` for a value that is refused, or content that can't be searched; `configuration` if
 * names or addresses are asked for without a guardrail; the errors of the ports
 */
export async function maskRequest(
  request: GenerationRequest,
  rules: AppliedRules,
  ports: MaskingPorts,
): Promise<MaskedRequest> {
  const search = new TextSearch(rules, ports.detect);
  mapRequest(request, search);
  await search.findNames(ports.findNames);
  ports.onSearched?.(search.counts);
  search.throwRefusal();
  if (search.counts.size === 0) return { request: mapRequest(request, AS_IT_IS), values: new Map() };
  const placeholders = new Placeholders(await ports.openKey(), search.reserved);
  const visit: VisitText = (text, place) => {
    const found = search.getFound(text, place);
    const isEscaped = place.mayBeJson === true && found.length > 0 && text.includes('\\') && isJson(text);
    return replaceFound(text, found, ({ label, action }, value) =>
      // A name has few characters, and two different ones must not become the same.
      action === 'mask' || place.isName
        ? placeholders.get(label, isEscaped ? unescapeJson(value) : value)
        : `[REDACTED ${label}]`,
    );
  };
  const masked = mapRequest(request, { ...AS_IT_IS, visit });
  return { request: masked, values: placeholders.values };
}

/** Returns the text that a part of a string in JSON stands for. It is escaped again where it is restored into JSON. */
function unescapeJson(value: string): string {
  const json = `"${value}"`;
  // A value may be longer than one string.
  return isJson(json) ? JSON.parse(json) : value;
}

const AS_IT_IS: RequestVisitor = { visit: (text) => text, visitUnsearchable: () => {} };

/** Searches the texts of a request, before any is replaced. */
export class TextSearch implements RequestVisitor {
  readonly #rules: AppliedRules;
  readonly #detect: Detect;
  /** The findings by text and field. */
  readonly #found = new Map<string, readonly Finding[]>();
  /** The hashes of what looks like a placeholder in the caller's own text. */
  readonly reserved = new Set<string>();
  readonly counts = new Map<string, number>();
  #refused: { readonly label: string; readonly param: string } | undefined;
  /** The texts that are no names and not opaque, for the guardrail. */
  readonly #texts = new Map<string, { readonly text: string; readonly param: string; readonly isOfModel: boolean }>();
  readonly #form: PlaceholderForm;

  constructor(rules: AppliedRules, detect: Detect) {
    this.#rules = rules;
    this.#detect = detect;
    this.#form = new PlaceholderForm([...PERSONAL_DATA_KINDS.map(toLabel), ...rules.patterns.map(({ name }) => name)]);
  }

  /** Returns the findings in a text that was visited. */
  getFound(text: string, place: TextPlace): readonly Finding[] {
    return this.#found.get(toId(text, place)) ?? [];
  }

  /** Visits a text. Returns whether it has no values. */
  isClean(text: string, place: TextPlace): boolean {
    this.visit(text, place);
    return this.getFound(text, place).length === 0;
  }

  /** @throws LambentError `content_filter` if a value was found that is refused */
  throwRefusal(): void {
    if (this.#refused === undefined) return;
    const { label } = this.#refused;
    const param = this.#toShown(this.#refused.param);
    const message = `The policy of this project refuses '${param}': it contains personal data (${label.toLowerCase()}).`;
    throw new LambentError('content_filter', message, { param, refusal: message });
  }

  /** Returns a parameter as an error may name it: the caller may have put a value into the name. */
  #toShown(param: string): string {
    return this.getFound(param, { param, isName: true }).length === 0 ? param : 'body';
  }

  readonly visit: VisitText = (text, place) => {
    const id = toId(text, place);
    let found = this.#found.get(id);
    if (found === undefined) {
      found = detectIn(text, place, this.#detect);
      // The model got no values, so it has written placeholders, also after words such as `password`.
      if (place.isOfModel) found = found.filter(({ start, end }) => !this.#form.isMatch(text.slice(start, end)));
      this.#found.set(id, found);
      if (place.isName !== true && place.isOpaque !== true)
        this.#texts.set(id, { text, param: place.param, isOfModel: place.isOfModel === true });
    }
    if (place.isOfModel !== true) for (const each of listHashes(text)) this.reserved.add(each);
    this.#note(found, place.param);
    return text;
  };

  readonly visitUnsearchable = (param: string): void => {
    if (this.#rules.passesUnsearchable) return;
    const message = `The policy of this project refuses '${param}': images and PDF documents can't be searched for personal data.`;
    throw new LambentError('content_filter', message, { param, refusal: message });
  };

  /** Adds the names and addresses that a guardrail finds, if the rules ask for them. */
  async findNames(find: FindNames | undefined): Promise<void> {
    const kinds = [...this.#rules.kinds.keys()].filter((kind) => GUARDRAIL_KINDS.has(kind));
    const texts = [...this.#texts].filter(([, { text }]) => /\p{L}/u.test(text));
    if (kinds.length === 0 || texts.length === 0) return;
    if (find === undefined)
      throw new LambentError(
        'configuration',
        'Names and addresses are only found by a guardrail, and the policy names no guardrail',
      );
    const searched = texts.map(([id, { text, isOfModel }]) => {
      const known = this.#found.get(id) ?? [];
      return hideFound(text, isOfModel ? mergeOverlaps([...known, ...this.#form.findAll(text)]) : known);
    });
    const found = await find([...new Set(searched.map(({ labelled }) => labelled))], kinds);
    const names = uniqueNames(found).flatMap(({ kind, value }) =>
      listOwnParts(value, searched).map((part) => ({ kind, value: part })),
    );
    const blanked = searched.map((each) => each.blanked);
    const located = locateNames(names, blanked);
    for (const [index, [id, { param }]] of texts.entries()) this.#add(id, located[index] ?? [], param);
  }

  #add(id: string, names: readonly LocatedName[], param: string): void {
    const known = new Set(this.#found.get(id));
    const found = names.map(({ kind, ...range }): Finding => {
      return { label: toLabel(kind), action: this.#rules.kinds.get(kind) ?? 'refuse', ...range };
    });
    const merged = mergeOverlaps([...known, ...found]);
    this.#note(
      merged.filter((each) => !known.has(each)),
      param,
    );
    this.#found.set(id, merged);
  }

  #note(found: readonly Finding[], param: string): void {
    for (const { label, action } of found) {
      this.counts.set(label, (this.counts.get(label) ?? 0) + 1);
      if (action === 'refuse') this.#refused ??= { label, param };
    }
  }
}

/** A text without the values that were found in it before. */
interface HiddenText {
  /** As a guardrail gets it: with labels in the place of the values. */
  readonly labelled: string;
  /** The same with null characters in the place of the labels, because text of the caller may look like a label. */
  readonly own: string;
  /** The text with null characters in the place of the values. */
  readonly blanked: string;
}

function hideFound(text: string, found: readonly Finding[]): HiddenText {
  return {
    labelled: replaceFound(text, found, ({ label }) => `[${label}]`),
    own: replaceFound(text, found, ({ label }) => '\0'.repeat(label.length + 2)),
    blanked: replaceFound(text, found, (_, value) => '\0'.repeat(value.length)),
  };
}

/** Returns what the caller wrote of a value: its parts between labels, at each of its places, or all of it if it has none. */
function listOwnParts(value: string, texts: readonly HiddenText[]): string[] {
  const parts = new Set<string>();
  for (const { labelled, own } of texts) {
    for (let start = labelled.indexOf(value); start !== -1; start = labelled.indexOf(value, start + 1))
      for (const part of own.slice(start, start + value.length).split(/\0+/)) parts.add(part.trim());
  }
  return parts.size === 0 ? [value] : [...parts].filter((part) => /[\p{L}\p{N}]/u.test(part));
}

/** Longer values don't depend on the name of their field. */
const MAX_FIELD_VALUE = 4_096;

/** Finds the values in a text. Those of a JSON field are searched with its name, which may show what they are. */
function detectIn(text: string, { field, isOpaque }: TextPlace, detect: Detect): Finding[] {
  if (isOpaque) return detect(text, { isOpaque });
  if (field === undefined || text.length > MAX_FIELD_VALUE || field.length > 128) return detect(text);
  const before = `"${field}":"`;
  const found = detect(`${before}${text}"`);
  const end = before.length + text.length;
  return found
    .filter((finding) => finding.end > before.length && finding.start < end)
    .map((finding) => ({
      ...finding,
      start: Math.max(0, finding.start - before.length),
      end: Math.min(finding.end, end) - before.length,
    }));
}

/** Returns a key for the findings in a text, which differ between places. */
function toId(text: string, { field = '', isName, isOpaque, isOfModel }: TextPlace): string {
  const kind = isName ? 'name' : isOpaque ? 'opaque' : '';
  return `${kind}\0${kind !== '' || field.length > 128 ? '' : field}\0${isOfModel === true}\0${text}`;
}

/** Returns a text with its findings replaced. */
export function replaceFound(
  text: string,
  found: readonly Finding[] | undefined,
  replace: (finding: Finding, value: string) => string,
): string {
  if (found === undefined || found.length === 0) return text;
  let replaced = '';
  let end = 0;
  for (const finding of found) {
    replaced += text.slice(end, finding.start) + replace(finding, text.slice(finding.start, finding.end));
    end = finding.end;
  }
  return replaced + text.slice(end);
}
