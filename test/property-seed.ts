import fc from 'fast-check';

// Property tests draw the same values in each run, so that a build fails only for its own change. `PROPERTY_SEED=random` searches
// further: fast-check names the seed of a failure, and `PROPERTY_SEED=<seed>` repeats it.
const seed = process.env['PROPERTY_SEED'] ?? '1';
if (seed !== 'random') fc.configureGlobal({ seed: Number(seed) });
