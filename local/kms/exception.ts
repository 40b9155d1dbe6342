/** An exception of KMS, under its name on the wire. */
export class KmsException extends Error {
  override readonly name:
    | 'AlreadyExistsException'
    | 'DisabledException'
    | 'IncorrectKeyException'
    | 'InvalidAliasNameException'
    | 'InvalidCiphertextException'
    | 'KMSInvalidStateException'
    | 'NotFoundException'
    | 'UnknownOperationException'
    | 'ValidationException';

  constructor(name: KmsException['name'], message = '') {
    super(message);
    this.name = name;
  }
}
