import { LambentError } from '../shared/core/errors.ts';

/** Lambda's limit on the length of a function's name. All other names that the templates form have more room. */
const MAX_FUNCTION_NAME = 64;

/**
 * Checks that a stage of this name can be deployed. osls accepts only letters, digits and hyphens.
 * @param functionNames the complete names of the stage's functions, such as `lambent-dev-chat`
 * @throws LambentError `configuration` if a function's name would be too long, or an alias of the stage's keys would be
 * one of another stage
 */
export function checkStageName(stage: string, functionNames: readonly string[]): void {
  const longest = functionNames.toSorted((one, other) => other.length - one.length)[0] ?? '';
  const excess = longest.length - MAX_FUNCTION_NAME;
  if (excess > 0) {
    const name = `the function's name ${longest} would have ${longest.length} characters, and Lambda accepts ${MAX_FUNCTION_NAME}`;
    throw stageError(stage, `${name}. Use at most ${stage.length - excess} characters`);
  }
  // The alias of the stage `a-vault`'s data key is also that of the vault key of the stage `a`.
  if (stage.endsWith('-vault'))
    throw stageError(stage, 'a name that ends in -vault is reserved for the alias of a key');
}

const stageError = (stage: string, reason: string) =>
  new LambentError('configuration', `The stage's name ${stage} can't be used: ${reason}`);
