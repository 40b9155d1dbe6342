/**
 * Replaces `bowser`, with which the AWS SDK parses a browser's user agent. The Node build never calls it, but has a
 * dynamic import of it, which would add 34 KB to each bundle.
 */
export {};
