import type { Telemetry } from '../core/telemetry.ts';

/** A target, as far as it says who gets the content that is sent to it. */
export interface Destination {
  readonly provider: string;
  /** The provider's name of the model, or the id of a guardrail. */
  readonly model: string;
  readonly baseUrl?: string;
  readonly fleet?: string;
  /** Absent for the function's own region. */
  readonly region?: string | undefined;
}

/** Returns the log fields of a destination: `location` is a host, a fleet or a region, never a path, a key or a user. */
export function describeDestination({ provider, model, baseUrl, fleet, region }: Destination) {
  const location = baseUrl === undefined ? (fleet ?? region) : new URL(baseUrl).host;
  return { provider, upstreamModel: model, location };
}

/** By request. */
const destinations = new WeakMap<Telemetry, Set<string>>();

/** Annotates the request with all places that its content was sent to so far, before it is sent to one of them. */
export function noteDestination(telemetry: Telemetry | undefined, destination: Destination): void {
  if (telemetry === undefined) return;
  const { provider, location } = describeDestination(destination);
  const sent = destinations.get(telemetry) ?? new Set();
  destinations.set(telemetry, sent.add(location === undefined ? provider : `${provider}:${location}`));
  telemetry.logger.annotate({ sentTo: [...sent].join(' ') });
}
