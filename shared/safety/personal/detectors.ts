import { BoundedMap } from '../../core/bounded-map.ts';
import { getOrCreate } from '../../core/get-or-create.ts';
import { createDetector, type Detect } from './detector.ts';
import type { AppliedRules } from './rules.ts';

/** The detectors of the rules that this environment has applied last, with their compiled patterns. */
const detectors = new BoundedMap<string, Promise<Detect>>(100);

/** Returns the detector of some rules, as `createDetector` does. */
export function getDetector({ kinds, patterns }: AppliedRules): Promise<Detect> {
  return getOrCreate(detectors, JSON.stringify([[...kinds], patterns]), () => createDetector({ kinds, patterns }));
}
