import { createHash } from 'node:crypto';
import { LambentError } from '../core/errors.ts';
import { type Capability, listPreferences, listRequirements, type Requirement } from './capabilities.ts';
import type { GenerationRequest } from './generation.ts';
import { getLimits } from './model-limits.ts';
import { type Alias, expandFallbacks, findAlias, type ModelRegistry, type Target } from './registry.ts';
import { checkEndpoint, servesEndpoint, servesMessagesOnly } from './served-endpoints.ts';

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
 * @throws LambentError `model_not_found`, also if no target has an endpoint for the request; `unsupported_parameter` with the
 * parameter that no target supports
 */
export function findCandidates(
  request: GenerationRequest,
  registry: ModelRegistry,
  getCapabilities: (target: Target) => ReadonlySet<Capability>,
): Candidate[] {
  checkEndpoint(request, registry);
  const all = expandFallbacks(request.model, registry).flatMap((aliasName) => {
    const alias = registry.models[aliasName];
    if (alias === undefined) return [];
    const ranked = rankTargets(aliasName, alias, request.conversationKey);
    const served = ranked.filter(({ target }) => servesEndpoint(target, request));
    return preferCapable(served, request, getCapabilities);
  });
  const isMet = ({ capabilities }: Requirement, { target }: Candidate): boolean =>
    capabilities.some((capability) => getCapabilities(target).has(capability));
  const capable = all.filter((each) => listNeeds(request, each).every((requirement) => isMet(requirement, each)));
  if (capable.length === 0) throw unsupportedError(request, all, isMet);
  const usable = capable.filter((each) => each.aliasName === request.model || canSubstitute(request, each));
  if (usable.length === 0) throw substitutionError(request);
  return usable;
}

/** Returns the error of a request that only fallbacks could serve, whose answers would differ. */
function substitutionError({ model, unknown, parameterNames }: GenerationRequest): LambentError {
  const param = Object.keys(unknown)[0] ?? parameterNames['maxOutputTokens'] ?? 'model';
  const message = `Unsupported parameter: '${param}' is not supported by the fallbacks of the model \`${model}\`.`;
  return new LambentError('unsupported_parameter', message, { param });
}

/**
 * Lists what a request needs of a target. One that gets only callers' own requests has to do all of it by itself: the router
 * can't check or shorten its answer.
 */
function listNeeds(request: GenerationRequest, { alias, target }: Candidate): Requirement[] {
  if (!servesMessagesOnly(target)) return listRequirements(request, alias.strictOutput);
  const needs = listRequirements(request, 'refuse');
  if (request.parallelToolCalls || request.tools.length === 0) return needs;
  return [
    ...needs,
    { capabilities: ['singleToolCall'], param: request.parameterNames['parallelToolCalls'] ?? 'tools' },
  ];
}

function unsupportedError(
  request: GenerationRequest,
  all: readonly Candidate[],
  isMet: (requirement: Requirement, candidate: Candidate) => boolean,
): LambentError {
  const requirements = all.flatMap((candidate) => listNeeds(request, candidate));
  const missing = requirements.find((each) => !all.some((candidate) => isMet(each, candidate))) ?? requirements[0];
  const param = missing?.param ?? 'model';
  const reason = missing === undefined ? '' : ` (missing capability: ${missing.capabilities[0]})`;
  return new LambentError(
    'unsupported_parameter',
    `Unsupported parameter: '${param}' is not supported with the model \`${request.model}\`${reason}.`,
    { param },
  );
}

/** Moves the targets of an alias that have everything the caller prefers to the front. A last resort stays last. */
function preferCapable(
  candidates: Candidate[],
  request: GenerationRequest,
  getCapabilities: (target: Target) => ReadonlySet<Capability>,
): Candidate[] {
  const preferences = candidates.length > 1 ? listPreferences(request) : [];
  if (preferences.length === 0) return candidates;
  const isPreferred = ({ target }: Candidate): boolean =>
    target.weight > 0 && preferences.every((capability) => getCapabilities(target).has(capability));
  return [...candidates.filter(isPreferred), ...candidates.filter((each) => !isPreferred(each))];
}

/**
 * Lists the targets of an alias that embeds, in the order of the hash of `key`. It has no fallbacks: the vectors of
 * two models can't be compared.
 * @throws LambentError `model_not_found`
 */
export function findEmbeddingTargets(model: string, key: string, registry: ModelRegistry): Candidate[] {
  const alias = findAlias(model, registry);
  if (alias.embeddings !== undefined) return rankTargets(model, alias, key);
  throw new LambentError('model_not_found', `The model \`${model}\` does not generate embeddings.`, { param: 'model' });
}

/** True if a fallback accepts the caller's output limit and unknown fields. Otherwise its answer would differ. */
function canSubstitute(request: GenerationRequest, { alias, target }: Candidate): boolean {
  const { maxOutputTokens: asked = 0, isMaxChosen } = request;
  const { maxOutputTokens = asked } = getLimits(alias, target);
  if (alias.outputLimit === 'refuse' && !isMaxChosen && asked > maxOutputTokens) return false;
  return alias.passUnknown || Object.keys(request.unknown).length === 0;
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
