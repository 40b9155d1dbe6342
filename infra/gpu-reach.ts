import type { Registry } from '../shared/inference/registry.ts';

/** What stays inside a VPC, or is reached through whatever joins it to other networks. */
const PRIVATE = /^(localhost|127\.|10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|\[)|\.(internal|local|lan)$/;

/**
 * Targets that chat can't reach while it is in a VPC without a way to the internet: other providers, and Bedrock in
 * another region than the endpoint's. One line each: the alias, and where it leads.
 */
export function unreachableByEndpoints({ models }: Registry): string[] {
  return Object.entries(models).flatMap(([alias, { targets }]) =>
    targets.flatMap((target) => {
      if (target.provider === 'bedrock')
        return target.region === undefined ? [] : `${alias} (Bedrock in ${target.region})`;
      if (target.provider !== 'openai-compatible') return [];
      const { hostname } = new URL(target.baseUrl);
      return PRIVATE.test(hostname) ? [] : `${alias} (${hostname})`;
    }),
  );
}
