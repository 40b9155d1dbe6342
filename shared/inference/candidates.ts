import { createHash } from 'node:crypto';
import { LambentError } from '../core/errors.ts';
import { type Capability, listRequirements } from './capabilities.ts';
import type { GenerationRequest } from './generation.ts';
import { getLimits } from './model-limits.ts';
import { type Alias, findAlias, type ModelRegistry, type Target } from './registry.ts';

/** A target that can serve a request, with the alias whose limits apply. */
export interface Candidate {
  readonly aliasName: string;
  readonly alias: Alias;
  readonly target: Target;
  /** Identifies the target within the registry: alias and index, as in `default/0`. */
  readonly key: string;
}

/**
 * Lists every target that can serve `request`, best first: the targets of its alias, ordered by the conversation's
 * hash, then the targets of the fallbacks.
 * @throws LambentError `model_not_found`; `unsupported_parameter` with the parameter that no target supports
 */
export function findCandidates(
  request: GenerationRequest,
  registry: ModelRegistry,
  getCapabilities: (target: Target) => ReadonlySet<Capability>,
): Candidate[] {
  const all = expandFallbacks(request.model, registry).flatMap((aliasName) => {
    const alias = registry.models[aliasName];
    return alias === undefined ? [] : rankTargets(aliasName, alias, request.conversationKey);
  });
  const requirements = listRequirements(request);
  const capable = all.filter(({ target }) => {
    const capabilities = getCapabilities(target);
    return requirements.every(({ capability }) => capabilities.has(capability));
  });
  if (capable.length === 0) {
    const missing =
      requirements.find(({ capability }) => !all.some(({ target }) => getCapabilities(target).has(capability))) ??
      requirements[0];
    const param = missing?.param ?? 'model';
    throw new LambentError(
      'unsupported_parameter',
      `Unsupported parameter: '${param}' is not supported with the model \`${request.model}\`${missing === undefined ? '' : ` (missing capability: ${missing.capability})`}.`,
      { param },
    );
  }
  return capable.filter((each) => each.aliasName === request.model || canSubstitute(request, each));
}

/** True if a fallback accepts the caller's output limit and unknown fields. Otherwise its answer would differ. */
function canSubstitute(request: GenerationRequest, { alias, target }: Candidate): boolean {
  const { maxOutputTokens = Number.POSITIVE_INFINITY } = getLimits(alias, target);
  if (alias.outputLimit === 'refuse' && (request.maxOutputTokens ?? 0) > maxOutputTokens) return false;
  return alias.passUnknown || Object.keys(request.unknown).length === 0;
}

/** Lists the alias, its fallbacks and their fallbacks, each once, nearest first. Throws as `findAlias`. */
function expandFallbacks(model: string, registry: ModelRegistry): string[] {
  findAlias(model, registry);
  const names = [model];
  // The array grows during the loop (breadth first). A cycle ends, because each name is added once.
  for (const name of names) {
    for (const fallback of registry.models[name]?.fallbacks ?? []) if (!names.includes(fallback)) names.push(fallback);
  }
  return names;
}

/**
 * Orders an alias's targets by weighted rendezvous hashing. Each target gets a score from the conversation's hash; its
 * probability of the highest score is its share of the weights. A conversation keeps its target as it grows, and a
 * changed weight moves as few conversations as possible.
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

/** Hashes a text to a number strictly between 0 and 1. */
function hashToUnit(text: string): number {
  return (createHash('sha256').update(text).digest().readUIntBE(0, 6) + 0.5) / 2 ** 48;
}
