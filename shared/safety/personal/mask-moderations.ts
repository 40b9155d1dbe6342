import type { Policy } from '../../access/policy.ts';
import type { ModerationPart } from '../../inference/moderation.ts';
import type { ModelRegistry } from '../../inference/registry.ts';
import type { GenerateOptions } from '../../inference/router.ts';
import { getDetector } from './detectors.ts';
import { replaceFound, TextSearch } from './mask-request.ts';
import { openNameFinder } from './open-name-finder.ts';
import { reportFound } from './report.ts';
import { combineRules } from './rules.ts';

type Inputs = readonly (readonly ModerationPart[])[];

/**
 * Returns the inputs of a moderation without their personal data. Results have no text to restore, so values that are masked in
 * chats are redacted here.
 * @throws LambentError `content_filter` for a value that is refused, and for images, unless the policy lets them pass; as
 * `Guardrail.findPersonalData`
 */
export async function maskModerations(
  inputs: Inputs,
  policy: Policy,
  registry: Pick<ModelRegistry, 'guardrails'>,
  call: Pick<GenerateOptions, 'signal' | 'telemetry'>,
): Promise<Inputs> {
  const rules = combineRules(policy);
  if (rules === undefined) return inputs;
  const search = new TextSearch(rules, await getDetector(rules));
  const place = { param: 'input' };
  for (const part of inputs.flat()) {
    if (part.type === 'image') search.visitUnsearchable(place.param);
    if (!isImageData(part)) search.visit(getText(part), place);
  }
  await search.findNames(await openNameFinder(rules, registry, call));
  reportFound(call.telemetry, search.counts);
  search.throwRefusal();
  const redact = (text: string): string =>
    replaceFound(text, search.getFound(text, place), ({ label }) => `[REDACTED ${label}]`);
  return inputs.map((parts) => parts.map((part) => (isImageData(part) ? part : mapPart(part, redact))));
}

/** Values in the data of an image would be matches by chance. */
function isImageData(part: ModerationPart): boolean {
  return part.type === 'image' && part.url.startsWith('data:');
}

function getText(part: ModerationPart): string {
  return part.type === 'text' ? part.text : part.url;
}

function mapPart(part: ModerationPart, map: (text: string) => string): ModerationPart {
  return part.type === 'text' ? { ...part, text: map(part.text) } : { ...part, url: map(part.url) };
}
