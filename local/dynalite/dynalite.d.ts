declare module 'dynalite' {
  import type { Server } from 'node:http';

  interface DynaliteOptions {
    /** Milliseconds that a table stays in CREATING. */
    readonly createTableMs?: number;
    readonly deleteTableMs?: number;
    /** Folder of the LevelDB store; in memory when absent. */
    readonly path?: string;
  }

  function dynalite(options?: DynaliteOptions): Server;
  export = dynalite;
}

declare module 'dynalite/db/index.js' {
  const db: {
    /** dynalite calls it once per server, through this object. */
    create(options: object): object;
    /** Returns the bytes of an item's names and values. */
    itemSize(item: Readonly<Record<string, object>>): number;
    lazy(stream: NodeJS.ReadableStream, onError: (error: Error) => void): { join(done: (all: string[]) => void): void };
  };
  export = db;
}

declare module 'dynalite/validations/index.js' {
  type Request = import('./expression-limits.ts').ExpressionRequest & {
    /** Set if the request has a `ConditionExpression` or `FilterExpression`. */
    readonly _condition?: { expression: unknown };
    readonly _filter?: { expression: unknown };
  };

  const validations: {
    /** Parses a request's expressions. Returns the message of a fault. dynalite calls it through this object. */
    validateExpressions(request: Request): string | undefined;
  };
  export = validations;
}

declare module 'dynalite/db/conditionParser.js' {
  const parser: import('./expression-cache.ts').Parser;
  export = parser;
}

declare module 'dynalite/db/updateParser.js' {
  const parser: import('./expression-cache.ts').Parser;
  export = parser;
}

declare module 'dynalite/db/projectionParser.js' {
  const parser: import('./expression-cache.ts').Parser;
  export = parser;
}
