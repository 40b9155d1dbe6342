import type { ModelRegistry } from '../shared/inference/registry.ts';

/** Hosts inside the VPC, or in a private network that is connected to it. */
const PRIVATE = /^(localhost|127\.|10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|\[)|\.(internal|local|lan)$/;
/** Hosts of the function's own environment. */
const LOOPBACK = /^(localhost|127\..*|\[::1\])$/;

/** A model or a worker that is called by its own URL. */
interface Destination {
  /** Name of the alias, the moderation model or the fleet. */
  readonly name: string;
  readonly url: URL;
}

/**
 * Lists the models and workers that functions in a VPC without internet access can't reach: models of other providers,
 * Bedrock's models and guardrails in a region other than the endpoint's, and workers with public addresses. Each text has
 * the name of the alias, guardrail or fleet, and the host or region.
 */
export function listUnreachable(registry: ModelRegistry): string[] {
  const models = Object.entries(registry.models).flatMap(([name, { targets }]) =>
    targets.flatMap((target) => (target.provider === 'bedrock' ? { name, region: target.region } : [])),
  );
  const guardrails = Object.entries(registry.guardrails).map(([name, { region }]) => ({ name, region }));
  const bedrock = [...models, ...guardrails].flatMap(({ name, region }) =>
    region === undefined ? [] : `${name} (Bedrock in ${region})`,
  );
  const external = listDestinations(registry).filter(({ url }) => !PRIVATE.test(url.hostname));
  return [...bedrock, ...external.map(({ name, url }) => `${name} (${url.hostname})`)];
}

/**
 * Returns egress rules of a security group for HTTPS (AWS) and for the port of every model and worker in the registry.
 * The destinations are not restricted, because the addresses of a host name change.
 */
export function buildEgressRules(registry: ModelRegistry): object[] {
  const listed = listDestinations(registry)
    .filter(({ url }) => !LOOPBACK.test(url.hostname))
    .map(({ url }) => Number(url.port || (url.protocol === 'https:' ? 443 : 80)));
  const ports = [...new Set([443, ...listed])].toSorted((one, other) => one - other);
  return ports.map((port) => ({
    Description: port === 443 ? 'AWS and external models' : 'External models',
    IpProtocol: 'tcp',
    FromPort: port,
    ToPort: port,
    CidrIp: '0.0.0.0/0',
  }));
}

function listDestinations({ models, fleets, moderations }: ModelRegistry): Destination[] {
  const targets = Object.entries(models).flatMap(([name, alias]) =>
    alias.targets.flatMap((target) =>
      target.provider === 'openai-compatible' ? { name, url: new URL(target.baseUrl) } : [],
    ),
  );
  const workers = Object.entries(fleets).flatMap(([name, fleet]) =>
    fleet.workers.map(({ url }) => ({ name, url: new URL(url) })),
  );
  const moderators = Object.entries(moderations).flatMap(([name, moderation]) =>
    'baseUrl' in moderation ? { name, url: new URL(moderation.baseUrl) } : [],
  );
  return [...targets, ...moderators, ...workers];
}
