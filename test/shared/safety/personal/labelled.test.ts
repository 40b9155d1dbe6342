import { expect, it } from 'vitest';
import { computeScore, LANGUAGES, readLabelled } from '../../../measure/personal-data.ts';
import { createMaskingDetector, OWN_KINDS } from './detectors.ts';

const detect = await createMaskingDetector();

it.each(OWN_KINDS.flatMap((kind) => LANGUAGES.map((language) => [kind, language] as const)))(
  'of the labelled values of %s in %s, at least 95%% are found, and 99%% of what is found is right',
  async (kind, language) => {
    const { positives, negatives, found, wrong, mistakes } = computeScore(
      kind,
      await readLabelled(kind, language),
      detect,
    );
    expect(positives).toBeGreaterThanOrEqual(100);
    expect(negatives).toBeGreaterThanOrEqual(100);
    expect(found / positives, mistakes.join('\n')).toBeGreaterThanOrEqual(0.95);
    expect(found / (found + wrong), mistakes.join('\n')).toBeGreaterThanOrEqual(0.99);
  },
);
