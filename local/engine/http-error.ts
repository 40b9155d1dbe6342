/** An error response in the format of OpenAI's API, with vLLM's error types. */
export class HttpError extends Error {
  readonly status: number;
  readonly type: string;

  constructor(status: number, type: string, message: string) {
    super(message);
    this.status = status;
    this.type = type;
  }

  get body(): object {
    return { error: { message: this.message, type: this.type, param: null, code: this.status } };
  }
}
