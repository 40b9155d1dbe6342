/** `npm run openapi`: writes the description of the API to `docs/openapi.json`. */
import { writeFile } from 'node:fs/promises';
import { createDocument } from './document.ts';
import { DOCUMENT_FILE, printDocument } from './served.ts';

await writeFile(DOCUMENT_FILE, printDocument(createDocument()));
