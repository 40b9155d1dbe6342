import { createHash } from 'node:crypto';
import { LambentError } from '../core/errors.ts';
import { type Capability, listRequirements } from './capabilities.ts';
import type { GenerationRequest } from './generation.ts';
import { type Alias, findAlias, type ModelRegistry, type Target } from './registry.ts';

/** A target that could serve a request, under the limits of the alias that named it. */
export interface Candidate {
  readonly aliasName: string;
  readonly alias: Alias;
  readonly target: Target;
  /** The same for the same target for as long as the registry is: `default/0`. */
  readonly key: string;
}

/**
 * Lists every target that can serve `request`, best first: those of its own alias in the order that the
 * conversation's hash gives them, then those of the fallbacks.
 * @throws LambentError `model_not_found`, or `unsupported_parameter` naming what no target can do
 */
export function findCandidates(
  request: GenerationRequest,
  registry: ModelRegistry,
  capabilitiesOf: (target: Target) => ReadonlySet<Capability>,
): Candidate[] {
  const all = expandFallbacks(request.model, registry).flatMap((aliasName) => {
    const alias = registry.models[aliasName];
    return alias === undefined ? [] : rankTargets(aliasName, alias, request.conversationKey);
  });
  const needs = listRequirements(request);
  const able = all.filter(({ target }) => {
    const has = capabilitiesOf(target);
    return needs.every(({ capability }) => has.has(capability));
  });
  if (able.length === 0) {
    const lacking =
      needs.find(({ capability }) => !all.some(({ target }) => capabilitiesOf(target).has(capability))) ?? needs[0];
    const param = lacking?.param ?? 'model';
    throw new LambentError(
      'unsupported_parameter',
      `Unsupported parameter: '${param}' is not supported with the model \`${request.model}\`${lacking === undefined ? '' : ` (it cannot do: ${lacking.capability})`}.`,
      { param },
    );
  }
  return able.filter(({ aliasName, alias }) => aliasName === request.model || canSubstitute(request, alias));
}

/** Whether a fallback may stand in: with a smaller limit, or without the fields it was sent, the answer would differ. */
function canSubstitute(request: GenerationRequest, alias: Alias): boolean {
  if ((request.maxOutputTokens ?? 0) > alias.maxOutputTokens) return false;
  return alias.passUnknown || Object.keys(request.unknown).length === 0;
}

/** The alias and its fallbacks, theirs included, each once, nearest first. Throws as `findAlias` does. */
function expandFallbacks(model: string, registry: ModelRegistry): string[] {
  findAlias(model, registry);
  const names = [model];
  // Grows while it is walked: breadth first, and a cycle ends because a name is added once.
  for (const name of names) {
    for (const fallback of registry.models[name]?.fallbacks ?? []) if (!names.includes(fallback)) names.push(fallback);
  }
  return names;
}

/**
 * Weighted rendezvous hashing: each target draws a score from the conversation's hash, and its chance to draw the
 * highest is its share of the weights. A conversation keeps its target as it grows, and a changed weight moves only
 * the conversations that it must.
 * @see Schindelhauer and Schomaker, Weighted Distributed Hash Tables (2005)
 */
function rankTargets(aliasName: string, alias: Alias, conversationKey: string): Candidate[] {
  const candidates = alias.targets.map((target, index) => ({ aliasName, alias, target, key: `${aliasName}/${index}` }));
  if (candidates.length === 1) return candidates;
  const score = ({ target, key }: Candidate): number =>
    -target.weight / Math.log(hashToUnit(`${key}\0${conversationKey}`));
  return candidates
    .map((candidate) => ({ candidate, score: score(candidate) }))
    .sort((a, b) => b.score - a.score)
    .map(({ candidate }) => candidate);
}

/** A number strictly between 0 and 1, the same for the same text. */
function hashToUnit(text: string): number {
  return (createHash('sha256').update(text).digest().readUIntBE(0, 6) + 0.5) / 2 ** 48;
}
