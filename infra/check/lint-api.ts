/** Lints the description of the API. */
import { createConfig, formatProblems, lint } from '@redocly/openapi-core';
import { DOCUMENT_FILE } from '../openapi/served.ts';

const config = await createConfig({
  extends: ['recommended-strict'],
  rules: {
    // A route may only refuse: that of WebSocket connections.
    'operation-2xx-response': 'off',
  },
});
const problems = await lint({ ref: DOCUMENT_FILE, config });
const totals = { errors: problems.length, warnings: 0, ignored: 0 };
formatProblems(problems, { format: 'stylish', version: '', totals });
if (problems.length > 0) process.exitCode = 1;
else console.log('The description of the API has no problems.');
