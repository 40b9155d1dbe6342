import type { ModelRegistry } from '../shared/inference/registry.ts';

/** What stays inside a VPC, or is reached through whatever joins it to other networks. */
const PRIVATE = /^(localhost|127\.|10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|\[)|\.(internal|local|lan)$/;
/** The function's own environment, which no network leads to. */
const LOOPBACK = /^(localhost|127\..*|\[::1\])$/;

/** A model or a machine that is asked by an address of its own. */
interface Place {
  /** The alias or the fleet. */
  readonly name: string;
  readonly url: URL;
}

/**
 * What chat can't reach while it is in a VPC without a way to the internet: other providers, Bedrock in another region than
 * the endpoint's, and listed workers elsewhere. One line each: the alias or the fleet, and where it leads.
 */
export function unreachableByEndpoints(registry: ModelRegistry): string[] {
  const bedrock = Object.entries(registry.models).flatMap(([alias, { targets }]) =>
    targets.flatMap((target) =>
      target.provider === 'bedrock' && target.region !== undefined ? `${alias} (Bedrock in ${target.region})` : [],
    ),
  );
  const elsewhere = placesIn(registry).filter(({ url }) => !PRIVATE.test(url.hostname));
  return [...bedrock, ...elsewhere.map(({ name, url }) => `${name} (${url.hostname})`)];
}

/**
 * Rules of a security group that let functions out to AWS, and to every port on which the registry has a model or a
 * machine. Where they may go is left open: a name's addresses change.
 */
export function egressOf(registry: ModelRegistry): object[] {
  const named = placesIn(registry)
    .filter(({ url }) => !LOOPBACK.test(url.hostname))
    .map(({ url }) => Number(url.port || (url.protocol === 'https:' ? 443 : 80)));
  const ports = [...new Set([443, ...named])].toSorted((one, other) => one - other);
  return ports.map((port) => ({
    Description: port === 443 ? 'AWS, and models elsewhere' : 'Models elsewhere',
    IpProtocol: 'tcp',
    FromPort: port,
    ToPort: port,
    CidrIp: '0.0.0.0/0',
  }));
}

function placesIn({ models, fleets }: ModelRegistry): Place[] {
  const targets = Object.entries(models).flatMap(([name, alias]) =>
    alias.targets.flatMap((target) =>
      target.provider === 'openai-compatible' ? { name, url: new URL(target.baseUrl) } : [],
    ),
  );
  const workers = Object.entries(fleets).flatMap(([name, fleet]) =>
    fleet.workers.map(({ url }) => ({ name, url: new URL(url) })),
  );
  return [...targets, ...workers];
}
