import {
  DYNAMODB_READS_PER_MILLION,
  DYNAMODB_WRITES_PER_MILLION,
  S3_GETS_PER_MILLION,
  S3_PUTS_PER_MILLION,
} from './prices.ts';

/** What an item of a body has besides the body: keys, names of attributes and the expiry. */
export const BODY_OVERHEAD_BYTES = 192;

/** Returns the dollars for a million items of so many KB that are written once and read `reads` times. */
export function computeItemDollars(kilobytes: number, reads: number): number {
  return kilobytes * DYNAMODB_WRITES_PER_MILLION + reads * Math.ceil(kilobytes / 4) * DYNAMODB_READS_PER_MILLION;
}

/** Returns the dollars for a million objects of any size that are written once and read `reads` times. */
export function computeObjectDollars(reads: number): number {
  return S3_PUTS_PER_MILLION + reads * S3_GETS_PER_MILLION;
}

/** Returns the largest whole number of KB at which an item costs less than an object. Storage is left out. */
export function computeItemLimitKb(reads: number): number {
  let kilobytes = 0;
  while (computeItemDollars(kilobytes + 1, reads) < computeObjectDollars(reads)) kilobytes += 1;
  return kilobytes;
}
