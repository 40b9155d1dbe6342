/**
 * `npm run fuzz`: starts the service and sends it requests that its description allows, and others. Fails for a status or
 * body that the description doesn't have, for a failure of the service, and for a route that answers without a key.
 * `npm run fuzz -- --max-examples 200` sends more. All options are Schemathesis's.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { bundleFunctions } from '../../infra/bundle/build.ts';
import { createDocument } from '../../infra/openapi/document.ts';
import { installRequirements, mustRunPython } from '../../infra/python.ts';
import { startService } from '../end-to-end/service.ts';

/**
 * What is checked. Whether data is accepted isn't: unknown fields are ignored, and a model may refuse others. An object
 * that a link names may not be there, because a caller may ask to store nothing.
 */
const CHECKS = [
  ...['not_a_server_error', 'status_code_conformance', 'content_type_conformance', 'response_schema_conformance'],
  ...['response_headers_conformance', 'ignored_auth', 'use_after_free'],
].join(',');

/** A run of about a minute. Only a response that never comes may fail it: Schemathesis would wait for ten seconds. */
const DEFAULTS = [
  ...['--phases', 'examples,fuzzing,stateful', '--max-examples', '4', '--workers', '2', '--seed', '1'],
  ...['--request-timeout', '300'],
];

/** @returns Schemathesis's exit code */
async function fuzz(args: readonly string[]): Promise<number> {
  const python = await installRequirements(import.meta.dirname);
  await bundleFunctions();
  await using service = await startService();
  const { origin } = new URL(service.cloud.url);
  const description = join(service.stateDir, 'openapi.json');
  await writeFile(description, JSON.stringify(createDocument()));
  // The two kinds of routes take keys of two kinds.
  for (const [key, filter] of [
    ['sk-local', '--exclude-tag'],
    ['sk-admin-local', '--include-tag'],
  ] as const) {
    const options = ['--url', origin, '--header', `Authorization: Bearer ${key}`, '--checks', CHECKS, filter, 'Admin'];
    const code = await run(service.stateDir, python, [
      '-m',
      'schemathesis.cli',
      'run',
      description,
      ...options,
      ...DEFAULTS,
      ...args,
    ]);
    if (code !== 0) return code;
  }
  return 0;
}

/** Runs a command in a folder, in which it may leave files. */
async function run(cwd: string, command: string, args: readonly string[]): Promise<number> {
  const child = spawn(command, args, { cwd, stdio: 'inherit' });
  const [code] = await once(child, 'exit');
  return code ?? 1;
}

if (await mustRunPython()) process.exitCode = await fuzz(process.argv.slice(2));
else console.warn('Skipped: Schemathesis needs python3, 3.11 or newer, with its module venv.');
