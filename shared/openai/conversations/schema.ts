import { metadata, optional } from '../parameters.ts';
import { inputItem } from '../responses/items.ts';
import { arrayOf, object } from '../schema.ts';

/** The number of items that one request may add. */
const MAX_ITEMS = 20;

/** The body of `POST /v1/conversations`. */
export const createConversationBody = object({
  items: optional(arrayOf(inputItem, 'objects', { max: MAX_ITEMS })),
  metadata,
});

/** The body of `POST /v1/conversations/{id}`. */
export const updateConversationBody = object({ metadata });

/** The body of `POST /v1/conversations/{id}/items`. */
export const createItemsBody = object({ items: arrayOf(inputItem, 'objects', { min: 1, max: MAX_ITEMS }) });
