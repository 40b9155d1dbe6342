import { checkReferences } from '../preflight/references.ts';
import type { DoctorCheck } from './check.ts';

/** Checks the parameters and secrets of the models file of this checkout, which may differ from the deployed one. */
export const referenceCheck: DoctorCheck = {
  name: 'keys of models',
  find: (input) => checkReferences({ ...input, template: { Resources: {} }, settings: {} }),
};
