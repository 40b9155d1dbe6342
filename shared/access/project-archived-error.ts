import { LambentError } from '../core/errors.ts';

/** Returns the error of every request of an archived project. */
export function projectArchivedError(): LambentError {
  return new LambentError(
    'project_archived',
    'The project you are requesting has been archived and is no longer accessible.',
  );
}
